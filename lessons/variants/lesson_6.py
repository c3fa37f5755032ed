"""Lesson 6, variants: another order of reading, a sampler with a rule, how many products a cache saves."""

import random
from string import Template

ORDERS = {
    "columns": "down the first column, then down the second, and so on",
    "snake": "along the first row to the right, along the second to the left, and so on in turn",
    "backwards": "from the last place to the first",
    "outside": "the first place, the last, the second, the last but one, and so on towards the middle",
}


def draw(rng: random.Random) -> dict:
    """order: of reading; parts, part, tau: of the sampler; the sizes of the number to predict."""
    parts = rng.choice([3, 4, 5])
    rule = {"parts": parts, "part": rng.randrange(parts), "tau": rng.choice([0.5, 0.7, 1.5, 2.0])}
    sizes = {"tokens": rng.choice([48, 64, 100, 144]), "prompt": rng.choice([4, 8, 12])}
    return {"order": rng.choice(sorted(ORDERS)), **rule, **sizes}


def stub(drawn: dict) -> str:
    reads = {
        "columns": [90, 10, 40, 20, 50, 30],
        "snake": [90, 10, 20, 30, 60, 50],
        "backwards": [90, 60, 50, 40, 30, 20],
        "outside": [90, 10, 60, 20, 50, 30],
    }
    last = next(last for last in range(9) if (last + 1) % drawn["parts"] == drawn["part"])  # code 1 may not follow it
    return Template(STUB).substitute(drawn, words=ORDERS[drawn["order"]], reads=reads[drawn["order"]], last=last)


STUB = '''
def read_in_order(tokens: Tensor, start: Tensor) -> Tensor:
    """What a causal model reads that paints in an order of its own: (B, height, width) and (B, 1) to (B, height width).

    It paints $words. It reads the start, then all tokens but the last, in the order of painting.
    (Difficulty 1 of 3, 15 minutes.)

    >>> read_in_order(torch.tensor([[[10, 20, 30], [40, 50, 60]]]), torch.tensor([[90]])).tolist()
    [$reads]
    """
    raise NotImplementedError


def sample_after(logits: Tensor, last: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw each sample's next token, at the temperature $tau and by a rule: (B, K) and int64 (B,) to int64 (B,).

    Code k may not follow the code `last` where (last + k) % $parts == $part. The others are drawn with probabilities
    in proportion to exp(logit / $tau), by `generator` alone. (Difficulty 2 of 3, 15 minutes.)

    >>> sample_after(torch.tensor([[0.0, 900.0, 500.0, 0.0, 0.0]]), torch.tensor([$last])).item()  # not 1
    2
    """
    raise NotImplementedError


def positions_saved() -> int:
    """How many positions fewer go through the blocks with a cache than without, to continue a picture.

    A picture has $tokens tokens, of which the first $prompt are given. The model reads the class and tokens, one
    position each, and says the next token. Without a cache it reads everything so far again for every new token. With
    one, it reads class and given tokens at once, as far as it needs them to say the first new token, then in each step
    only what is new. The last token is never read. Predict it to the last position, then count it in loops. (Difficulty
    2 of 3, 10 minutes.)

    >>> positions_saved() > 0
    True
    """
    raise NotImplementedError
'''
