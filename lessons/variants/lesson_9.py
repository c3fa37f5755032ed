"""Lesson 9, variants: a learning rate given by a graph, and the operations of another transformer."""

import random
from string import Template


def draw(rng: random.Random) -> dict:
    """points: of the graph, with a peak of 1; gated, shrink, asked: of the transformer whose operations are counted."""
    x = sorted(rng.sample(range(1, 20), 3))
    peak = rng.randrange(2)
    heights = [
        rng.choice([0.0, 0.1, 0.2]),
        *[rng.choice([0.3, 0.4, 0.6, 0.7]) for _ in range(3)],
        rng.choice([0.0, 0.05]),
    ]
    heights[1 + peak] = 1.0
    points = [(a / 20, height) for a, height in zip((0, *x, 20), heights)]
    parts = {"gated": rng.random() < 0.5, "shrink": rng.choice([2, 4]), "asked": rng.choice([2, 4, 8])}
    return {"points": points, **parts}


def stub(drawn: dict) -> str:
    gated = "three matrices, width x mlp_width, width x mlp_width and mlp_width x width"
    mlp = gated if drawn["gated"] else "two matrices, width x mlp_width and mlp_width x width"
    shrink, matrices = drawn["shrink"], 3 if drawn["gated"] else 2
    width, tokens = 4, 8
    block = width * width * 2 + 2 * width * width // shrink + matrices * width * 4
    flops = 6 * (block * tokens + (width * width + width * 10) * tokens // drawn["asked"]) + 12 * tokens**2 * width
    steps = 100
    step = round(drawn["points"][1][0] * steps)
    texts = {"mlp": mlp, "flops": float(flops), "steps": steps, "step": step, "height": drawn["points"][1][1]}
    return Template(STUB).substitute(drawn | texts, fraction=drawn["asked"])


STUB = '''
GRAPH = $points  # (step / steps, share of the peak)


def graph_rate(step: int, steps: int) -> float:
    """Learning rate of step 0..T-1 as a fraction of its peak: by GRAPH, with straight lines between its points.

    Plain numbers, no tensors. (Difficulty 1 of 3, 10 minutes.)

    >>> round(graph_rate(step=$step, steps=$steps), 4)
    $height
    """
    raise NotImplementedError


def mean_rate() -> float:
    """The mean learning rate of a long training under GRAPH, as a fraction of its peak.

    Predict it to 0.002 with pencil and paper, then measure it with your `graph_rate`. (Difficulty 1 of 3, 5 minutes.)

    >>> 0 < mean_rate() < 1
    True
    """
    raise NotImplementedError


def other_flops(depth: int, width: int, mlp_width: int, num_codes: int, sequence: int, batch_size: int) -> float:
    """Operations of one training step, forward and backward, as training_flops counts them, of another transformer.

    In each of the `depth` blocks, query and output have matrices width x width, but key and value only width x (width /
    $shrink), because $shrink heads share theirs; the attention's two products are unchanged, S x S x width each. The
    MLP has $mlp. After the blocks come the head's matrix, width x width, and the output layer, width x num_codes, but
    only the masked tokens pass through these two: one in $fraction, which divides `sequence`. $shrink divides the
    width. (Difficulty 2 of 3, 15 minutes.)

    >>> other_flops(depth=1, width=4, mlp_width=4, num_codes=10, sequence=8, batch_size=1)
    $flops
    """
    raise NotImplementedError
'''
