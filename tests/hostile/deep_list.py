"""Gives lists in lists."""


def remask(tokens, confidence, counts, mask_id):
    deep = []
    for _ in range(10**5):
        deep = [deep]
    return deep
