"""Lesson 9, exercises: how much a training run takes (notebook 9_scale_up).

Replace each `raise NotImplementedError`, then `make check-9`. Never write into an argument; work on a copy.
Plain numbers, no tensors.
"""


def training_flops(depth: int, width: int, mlp_width: int, num_codes: int, sequence: int, batch_size: int) -> float:
    """Floating-point operations of one training step of a transformer: forward and backward, without the optimizer.

    Count matrices only. A block has four for query, key, value and output, each width x width, and two in the MLP, each
    width x mlp_width. After all `depth` blocks come the head's, width x width, and the output layer's, width x
    num_codes. Each of their parameters takes part in a multiplication and an addition for each of the `sequence` tokens
    of each sample, once forward and twice backward: 6 operations per token.
    Attention adds two products in every block: queries with keys, and weights with values. For S = sequence, each takes
    S x S x width multiplications and additions, once forward and twice backward: 6 S^2 width.

    >>> training_flops(depth=1, width=2, mlp_width=4, num_codes=8, sequence=1, batch_size=1)  # 6 (32 + 20) + 24
    336.0
    """
    raise NotImplementedError


def tokens_per_second(batch_size: int, num_tokens: int, steps: int, seconds: float) -> float:
    """Tokens trained on per second, if `steps` steps took `seconds` s; num_tokens: of each sample.

    >>> tokens_per_second(batch_size=16, num_tokens=64, steps=100, seconds=20.0)
    5120.0
    """
    raise NotImplementedError


def trapezoid(step: int, steps: int, warmup: int, cooldown: float) -> float:
    """Learning rate of step 0..T-1 as a fraction of its peak: a linear rise, a plateau, a linear fall to zero; T steps.

    The rise: (step + 1) / warmup, so that step warmup - 1 is the first at the peak. The fall: over the last fraction
    `cooldown` of all steps, (T - step) / (cooldown T), which is 0 at step T. Nothing is above 1; where rise and fall
    overlap, they multiply. warmup 0: no rise; cooldown 0: no fall.

    >>> [trapezoid(step, steps=8, warmup=2, cooldown=0.5) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    raise NotImplementedError
