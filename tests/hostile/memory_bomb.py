"""Takes all memory there is, and touches it."""


def remask(tokens, confidence, counts, mask_id):
    taken = []
    while True:
        taken.append(bytearray(b"x") * 2**24)
