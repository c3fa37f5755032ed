"""Leaves processes behind that belong to nobody."""

import os
import time


def remask(tokens, confidence, counts, mask_id):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(10**6)
            os._exit(0)
    return tokens
