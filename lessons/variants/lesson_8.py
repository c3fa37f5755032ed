"""Lesson 8, variants: precision by balls of another kind, a Fréchet distance to predict, a broken score to mend."""

import random
from string import Template

from minimaskgit.grading.variants import reason_stub

DISTANCES = {
    "sum": "the sum of the absolute differences of the coordinates",
    "largest": "the largest absolute difference of a coordinate",
}
REASONS = {
    "itself": "a picture is counted among its own neighbours",
    "class": "neighbours of other classes are counted",
    "far": "the furthest are taken for the nearest",
    "total": "the share is of all pictures, not of the k neighbours",
}
# Each body has one mistake, and each is written another way, so that none is the mended version of another.
BROKEN = {
    "itself": """
    nearest = torch.cdist(features, features).topk(k, largest=False).indices
    return (labels[nearest] == labels[:, None]).double().mean(1)""",
    "class": """
    far = torch.cdist(features, features).fill_diagonal_(torch.inf)
    nearest = far.argsort(1)[:, :k]
    return (nearest >= 0).double().mean(1)""",
    "far": """
    shares = []
    for at in range(len(features)):
        away = (features - features[at]).square().sum(1)
        away[at] = -1
        nearest = away.topk(k).indices
        shares.append((labels[nearest] == labels[at]).double().mean())
    return torch.stack(shares)""",
    "total": """
    order = torch.cdist(features, features).fill_diagonal_(torch.inf).argsort(1)
    ranks = order.argsort(1)
    alike = labels[None] == labels[:, None]
    return (alike & (ranks < k)).double().mean(1)""",
}


def draw(rng: random.Random) -> dict:
    """distance, factor, needed: of balls; two Gaussians as tables; bug: which mistake is planted."""
    table = lambda least, most: [rng.randrange(least, most) / 2 for _ in range(4)]
    gaussians = {"means": (table(-6, 7), table(-6, 7)), "spreads": (table(1, 9), table(1, 9))}
    balls = {
        "distance": rng.choice(sorted(DISTANCES)),
        "factor": rng.choice([0.5, 1.5, 2.0]),
        "needed": rng.choice([1, 2, 3]),
    }
    return {**balls, **gaussians, "bug": rng.choice(sorted(BROKEN))}


def stub(drawn: dict) -> str:
    words = {
        "words": DISTANCES[drawn["distance"]],
        "body": BROKEN[drawn["bug"]],
        "reason": reason_stub("neighbours_alike", REASONS),
    }
    one, other = zip(drawn["means"], drawn["spreads"])
    balls = f"{drawn['needed']} ball" + "s" * (drawn["needed"] > 1)
    return Template(STUB).substitute(drawn | words, first=one, second=other, balls=balls)


STUB = '''
def strict_precision(real: Tensor, fake: Tensor) -> float:
    """The fraction of the fakes that lie in at least $balls: features (N, D) and (M, D), N at least 2, to 0..1.

    Around each real vector lies a ball, its edge included, whose radius is $factor times the distance to the nearest
    other real vector. Distance is $words. (Difficulty 2 of 3, 15 minutes.)

    >>> real = torch.tensor([[0.0], [1.0]] * 3)  # each has a twin, so all radii are 0
    >>> strict_precision(real, torch.tensor([[1.0], [0.5]]))
    0.5
    """
    raise NotImplementedError


FIRST = $first  # means, standard deviations
SECOND = $second


def distance_of_gaussians() -> float:
    """The Fréchet distance between two Gaussians with independent coordinates, whose tables are FIRST and SECOND.

    Predict it to 0.1 % with pencil and paper: what is left of the formula if both covariances are diagonal? Then
    measure it with your `frechet_distance`. (Difficulty 1 of 3, 10 minutes.)

    >>> distance_of_gaussians() >= 0
    True
    """
    raise NotImplementedError


def neighbours_alike(features: Tensor, labels: Tensor, k: int) -> Tensor:
    """The share of each picture's k nearest others that have its class. THIS IS BROKEN: mend it.

    Features (N, D) and labels, int64 (N,), to float64 (N,). Distances are Euclidean, and k is at most N - 1.
    (Difficulty 1 of 3, 15 minutes.)

    >>> features = torch.tensor([[0.0], [1.0], [5.0], [7.0]])
    >>> neighbours_alike(features, torch.tensor([0, 0, 1, 0]), k=1).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """$body


$reason
'''
