"""Never answers."""


def remask(tokens, confidence, counts, mask_id):
    while True:
        pass
