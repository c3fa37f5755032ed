"""Leaves a process behind whose first thread has ended, so that it looks dead while another thread lives on."""

import ctypes
import os
import threading
import time

EXIT = {"x86_64": 60, "aarch64": 93}  # the system call that ends one thread


def remask(tokens, confidence, counts, mask_id):
    if os.fork() == 0:
        os.setsid()
        threading.Thread(target=time.sleep, args=(600,)).start()
        ctypes.CDLL(None).syscall(EXIT[os.uname().machine], 0)
    return tokens
