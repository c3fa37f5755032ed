"""Never answers, and takes no processor time for it."""

import time


def remask(tokens, confidence, counts, mask_id):
    time.sleep(10**6)
