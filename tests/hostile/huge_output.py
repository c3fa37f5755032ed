"""Says gigabytes."""

import os


def remask(tokens, confidence, counts, mask_id):
    for _ in range(10**4):
        for stream in (1, 2):
            os.write(stream, b"x" * 10**6)
    return tokens
