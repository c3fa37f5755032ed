"""Gives a number of millions of digits."""

import sys

sys.set_int_max_str_digits(0)


def remask(tokens, confidence, counts, mask_id):
    return 10**1_000_000
