"""Overflows the stack of Python itself."""

import sys

sys.setrecursionlimit(10**9)


def remask(tokens, confidence, counts, mask_id):
    return remask(tokens, confidence, counts, mask_id)
