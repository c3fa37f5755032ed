"""Writes to, empties and deletes what it finds of the grader and of Python."""

import contextlib
import os
import shutil

import torch


def remask(tokens, confidence, counts, mask_id):
    folder = os.path.dirname("{canary}")
    for path in (
        "{canary}",
        "{canary}.new",
        folder + "/../conftest.py.new",
        torch.__file__ + ".new",
        "/tmp/canary.new",
    ):
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write("was here")
        except OSError:
            pass
    for action in (os.remove, os.chmod):
        with contextlib.suppress(OSError):
            action("{canary}", *([0] if action is os.chmod else []))
    shutil.rmtree(folder + "/never", ignore_errors=True)
    return tokens
