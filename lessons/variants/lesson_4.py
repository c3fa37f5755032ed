"""Lesson 4, variants: attention under a rule of who sees whom, how much that saves, heads that share their keys."""

import random
from string import Template

RULES = {
    "window": "at most $reach places before or after it",
    "before": "at the place itself or at most $reach places before it",
    "stride": "at a distance from it that is a multiple of $reach",
    "first": "among the first $reach places, or at the place itself",
}


def draw(rng: random.Random) -> dict:
    """rule, reach: whom a place sees; places: of the number to predict; share: heads with the same keys and values."""
    chosen = {"rule": rng.choice(sorted(RULES)), "reach": rng.choice([2, 3, 4])}
    return {**chosen, "places": rng.choice([50, 64, 81, 100]), "share": rng.choice([2, 3])}


def stub(drawn: dict) -> str:
    rule = Template(RULES[drawn["rule"]]).substitute(drawn)
    sees = {"window": [0, 1, 2], "before": [0], "stride": [0, 2] if drawn["reach"] == 2 else [0], "first": [0, 1, 2]}
    seen = [place for place in sees[drawn["rule"]] if drawn["rule"] != "first" or place < drawn["reach"]]
    mean = sum(float(3 * place) for place in seen) / len(seen)
    return Template(STUB).substitute(drawn, sees=rule, mean=mean)


STUB = '''
def ruled_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in which a query sees only some keys: q, k, v (B, heads, S, d), any S, to (B, heads, S, d).

    A query sees the keys $sees; places are 0..S-1, and what would lie beyond them is not there. Among those, softmax
    and the division by sqrt(d) are as ever. (Difficulty 2 of 3, 15 minutes.)

    >>> q = k = torch.zeros(1, 1, 3, 1)  # no preference: everyone takes the mean of what it sees
    >>> ruled_attention(q, k, torch.tensor([0.0, 3.0, 6.0]).view(1, 1, 3, 1))[0, 0, 0].item()  # the first
    $mean
    """
    raise NotImplementedError


def pairs_seen() -> int:
    """How many of the S x S pairs of query and key are seen under the rule of ruled_attention, for S = $places.

    Predict it with pencil and paper, to the last pair, then count it. (Difficulty 1 of 3, 10 minutes.)

    >>> 0 < pairs_seen() < $places**2
    True
    """
    raise NotImplementedError


def shared_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in which $share heads share their keys and values: q (B, $share G, S, d), k and v (B, G, S, d).

    Head h of the queries looks at head h // $share of the keys and values. Everyone sees everyone, softmax and sqrt(d)
    as ever: (B, $share G, S, d), for any G and S. (Difficulty 2 of 3, 15 minutes.)

    >>> q, k = torch.zeros(1, $share, 2, 1), torch.zeros(1, 1, 2, 1)
    >>> shared_attention(q, k, torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)).flatten().tolist() == [3.0] * (2 * $share)
    True
    """
    raise NotImplementedError
'''
