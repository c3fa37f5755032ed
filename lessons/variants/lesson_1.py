"""Lesson 1, variants: a nearest code by another distance and of another set, and how much smaller tokens are."""

import random
from string import Template

DISTANCES = {
    "sum": ("the sum of the absolute differences of the coordinates", "(z - e).abs().sum()"),
    "largest": ("the largest absolute difference of a coordinate", "(z - e).abs().max()"),
    "angle": ("the angle between the two, whatever their lengths", "the angle; no vector is 0"),
}


def draw(rng: random.Random) -> dict:
    """distance: what near means; parts, part: codes that may not be used; sizes of pictures and codebooks."""
    parts = rng.choice([2, 3, 4])
    sizes = {"side": rng.choice([96, 128, 192, 256]), "factor": rng.choice([8, 16, 32])}
    sizes |= {"codes": rng.choice([300, 600, 1000, 2000, 5000]), "width": rng.choice([16, 32, 64])}
    sizes |= {"stored": rng.choice([100, 1000, 10_000])}
    return {"distance": rng.choice(sorted(DISTANCES)), "parts": parts, "part": rng.randrange(parts), **sizes}


def stub(drawn: dict) -> str:
    words, formula = DISTANCES[drawn["distance"]]
    free = [code for code in range(4) if code % drawn["parts"] != drawn["part"]]
    rows = [[1.0, 9.0] for _ in range(4)]
    rows[free[0]], rows[free[1]] = [-3.0, -4.0], [2.0, 2.0]
    example = f"torch.tensor({rows})"
    return Template(STUB).substitute(drawn, words=words, formula=formula, example=example, nearest=free[1])


STUB = '''
def nearest_free(z: Tensor, codebook: Tensor) -> Tensor:
    """Number of the nearest entry among those that may be used: (..., D) and (K, D) to int64 (...).

    Code k may not be used where k % $parts == $part. Near is measured by $words:
    $formula. Where two are equally near, either will do. The numbers are those of the whole codebook.
    (Difficulty 2 of 3, 15 minutes.)

    >>> codebook = $example
    >>> nearest_free(torch.tensor([1.0, 1.0]), codebook).item()
    $nearest
    """
    raise NotImplementedError


def times_smaller() -> float:
    """How many times fewer bytes a data set takes as tokens than as pixels, codebook included.

    $stored pictures of $side x $side pixels, three bytes each. A token stands for $factor x $factor pixels, and takes
    the least whole number of bits that tells $codes codes apart; the tokens' bits are packed without gaps. Stored once,
    the codebook has a float32 for each of $width numbers of every code. Predict it to 1 %, then measure it with arrays.
    (Difficulty 1 of 3, 10 minutes.)

    >>> times_smaller() > 1
    True
    """
    raise NotImplementedError


def move_codes(z: Tensor, codebook: Tensor, rate: float) -> Tensor:
    """A codebook of which every entry has moved towards the mean of the vectors that use it: (M, D), (K, D) to (K, D).

    The result is a new tensor. A vector uses the entry that `nearest_free` finds. An entry e becomes (1 - rate) e +
    rate times the mean of its vectors; one that no vector uses stays as it is. (Difficulty 2 of 3, 15 minutes.)

    >>> codebook = $example
    >>> moved = move_codes(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), codebook, rate=1.0)
    >>> moved[$nearest].tolist()
    [2.0, 2.0]
    """
    raise NotImplementedError
'''
