"""Lesson 2, variants: a hinge with margins of its own, a layer-wise perceptual loss, a broken weight to mend."""

import random
from string import Template

from minimaskgit.grading.variants import reason_stub

REASONS = {
    "attached": "the weight has a gradient, so the balance itself is trained",
    "inverted": "the two gradients are exchanged",
    "cap": "the limit is not applied",
    "rows": "the norm is taken of each row, not of the whole",
}
# Each body has one mistake, and each is written another way. $norm stands for what is drawn.
BROKEN = {
    "attached": """
    size = lambda g: $norm
    return torch.minimum(size(rec_grad) / (size(gan_grad) + 1e-4), torch.tensor(LIMIT))""",
    "inverted": """
    with torch.no_grad():
        top, bottom = [$norm for g in (gan_grad, rec_grad)]
        return (top / (bottom + 1e-4)).clamp(max=LIMIT)""",
    "cap": """
    sizes = []
    for g in (rec_grad.detach(), gan_grad.detach()):
        sizes.append($norm)
    ratio = sizes[0] / (sizes[1] + 1e-4)
    return ratio if ratio < LIMIT else ratio.clamp(min=LIMIT)""",
    "rows": """
    ratios = []
    for rec, gan in zip(rec_grad.detach().flatten(1), gan_grad.detach().flatten(1)):
        above, below = [$norm for g in (rec, gan)]
        ratios.append(above / (below + 1e-4))
    return torch.stack(ratios).mean().clamp(max=LIMIT)""",
}
NORMS = {
    "sum": ("the sum of the absolute values", "g.abs().sum()"),
    "largest": ("the largest absolute value", "g.abs().max()"),
    "squares": ("the mean of the squares", "g.square().mean()"),
}


def draw(rng: random.Random) -> dict:
    """Margins and weights of real and fake; rates of the layers; the norm, limit and mistake of the weight."""
    margins = {"real_margin": rng.choice([0.5, 1.5, 2.0]), "fake_margin": rng.choice([0.25, 0.75, 3.0])}
    weights = {"real_weight": rng.choice([0.2, 0.3, 0.7]), "square": rng.random() < 0.5}
    layers = {"falling": rng.choice([0.25, 0.5, 0.75]), "absolute": rng.random() < 0.5}
    balance = {"norm": rng.choice(sorted(NORMS)), "limit": rng.choice([5.0, 20.0, 100.0])}
    return {**margins, **weights, **layers, **balance, "bug": rng.choice(sorted(BROKEN))}


def stub(drawn: dict) -> str:
    words, norm = NORMS[drawn["norm"]]
    body = Template(BROKEN[drawn["bug"]]).substitute(norm=norm)
    power = "the square of how far" if drawn["square"] else "how far"
    difference = "absolute" if drawn["absolute"] else "squared"
    real, fake = drawn["real_margin"], drawn["fake_margin"]
    texts = {"words": words, "body": body, "power": power, "difference": difference}
    texts |= {"reason": reason_stub("balance", REASONS), "first": round(1 / (1 + drawn["falling"]), 4)}
    texts |= {"ratio": 2.25 if drawn["norm"] == "squares" else 1.5}
    texts |= {"inside": real - 1, "outside": -fake - 1, "fake_weight": round(1 - drawn["real_weight"], 4)}
    return Template(STUB).substitute(drawn | texts)


STUB = '''
def margin_loss(real: Tensor, fake: Tensor) -> Tensor:
    """A discriminator's loss with margins of its own: scores of any shapes, not always the same one, to a scalar.

    A real score should be at least $real_margin, a fake one at most -$fake_margin. A score that reaches its
    margin costs nothing and teaches nothing; any other costs $power it is from the margin. The loss is $real_weight
    times the mean over the real scores plus $fake_weight times that over the fake ones. (Difficulty 1 of 3, 10
    minutes.)

    >>> round(margin_loss(torch.tensor([$inside]), torch.tensor([[$outside]])).item(), 4)
    $real_weight
    """
    raise NotImplementedError


def layered_loss(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    """A perceptual loss in which each layer counts $falling times as much as the one before it; a scalar.

    Each layer's feature maps (B, C, H, W) are first divided by their length: the Euclidean norm over the channels C at
    every place, plus 1e-6. A layer's term is the mean $difference difference of all numbers. The layers' weights sum
    to 1. Nothing is taught to features_b, which are the picture's own. (Difficulty 2 of 3, 15 minutes.)

    >>> one, other = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    >>> round(layered_loss([one, one], [other, one]).item(), 4)  # the first layers differ as much as they can: 1
    $first
    """
    raise NotImplementedError


LIMIT = $limit


def balance(rec_grad: Tensor, gan_grad: Tensor) -> Tensor:
    """|rec_grad| / (|gan_grad| + 1e-4), at most $limit, without a gradient: a scalar. THIS IS BROKEN: mend it.

    |g| is $words of all of g, of any shape with two or more dimensions. (Difficulty 1 of 3, 10 minutes.)

    >>> round(balance(torch.tensor([[3.0, -3.0]]), torch.tensor([[-2.0, 2.0]])).item(), 2)
    $ratio
    """$body


$reason
'''
