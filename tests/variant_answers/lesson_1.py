"""Right and wrong answers to lesson 1's variants, by what is drawn."""

import math

import torch
from torch.nn import functional as F

from minimaskgit import tokenizer


def right(drawn: dict) -> dict:
    def nearest_free(z, codebook):
        flat = z.reshape(-1, z.shape[-1])
        if drawn["distance"] == "angle":
            far = -F.normalize(flat, dim=1) @ F.normalize(codebook, dim=1).T
        else:
            far = torch.cdist(flat, codebook, p=1.0 if drawn["distance"] == "sum" else math.inf)
        banned = torch.arange(len(codebook)) % drawn["parts"] == drawn["part"]
        return far.masked_fill(banned, math.inf).argmin(1).view(z.shape[:-1])

    def move_codes(z, codebook, rate):
        use = F.one_hot(nearest_free(z, codebook), len(codebook)).to(z.dtype).T  # (K, M)
        count = use.sum(1, keepdim=True)
        return codebook + rate * (use @ z - count * codebook) / count.clamp(min=1)

    def times_smaller():
        bits = math.ceil(math.log2(drawn["codes"]))
        of_a_picture = (drawn["side"] / drawn["factor"]) ** 2 * bits / 8
        return 3 * drawn["side"] ** 2 / (of_a_picture + 4 * drawn["codes"] * drawn["width"] / drawn["stored"])

    return {"nearest_free": nearest_free, "times_smaller": times_smaller, "move_codes": move_codes}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    other = right({**drawn, "distance": {"sum": "angle", "largest": "sum", "angle": "largest"}[drawn["distance"]]})
    shifted = right({**drawn, "part": (drawn["part"] + 1) % drawn["parts"]})
    good = right(drawn)
    flat = lambda z, codebook: good["nearest_free"](z.reshape(-1, z.shape[-1]), codebook)

    def to_nothing(z, codebook, rate):
        used = torch.zeros(len(codebook), 1).index_fill(0, good["nearest_free"](z, codebook), 1)
        return used * good["move_codes"](z, codebook, rate)

    def in_place(z, codebook, rate):
        return codebook.copy_(good["move_codes"](z, codebook, rate))

    near = "test_the_code_may_be_used_and_none_that_may_is_nearer"
    moves = "test_an_entry_moves_towards_the_mean_of_its_own_vectors_and_an_unused_one_stays"
    bytes_ = "test_so_many_times_fewer_bytes_are_measured"
    return {
        "the package's": (near, {"nearest_free": tokenizer.nearest_codes}),
        "another distance": (near, {"nearest_free": other["nearest_free"]}),
        "other codes": (near, {"nearest_free": shifted["nearest_free"]}),
        "always flat": ("test_every_vector_is_for_itself_in_any_shape", {"nearest_free": flat}),
        "a float a token": (bytes_, {"times_smaller": lambda: 3 * drawn["factor"] ** 2 / 4}),
        "without the codebook": (bytes_, {"times_smaller": right({**drawn, "stored": 10**9})["times_smaller"]}),
        "one bit more": (bytes_, {"times_smaller": lambda: good["times_smaller"]() * 0.9}),
        "unused entries are lost": (moves, {"move_codes": to_nothing}),
        "the caller's codebook": (moves, {"move_codes": in_place}),
        "the whole way": (moves, {"move_codes": lambda z, codebook, rate: good["move_codes"](z, codebook, 1.0)}),
    }
