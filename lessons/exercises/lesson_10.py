"""Lesson 10, exercises: which order, taking back, critics (notebook 10_after_the_paper).

Replace each `raise NotImplementedError`, then `make check-10`. Never write into an argument; work on a copy.
B samples, N tokens.
"""

from torch import Tensor


def halton_order(height: int, width: int) -> Tensor:
    """All positions of a grid, row-major, in the order in which the Halton sequence visits them: int64 (N,).

    Point i = 1, 2, ... is at row floor(height phi_2(i)) and column floor(width phi_3(i)). phi_b(i) is i in base b with
    its digits mirrored at the point: 6 is 110 in base 2, so phi_2(6) = 0.011 in base 2 = 3/8; it is 20 in base 3, so
    phi_3(6) = 0.02 in base 3 = 2/9. A position that was visited before is skipped.
    Compute in whole numbers or fractions: a point often lies on the edge of a cell, and with floats may round down
    into the wrong one.

    >>> [divmod(position, 8) for position in halton_order(8, 8)[:4].tolist()]
    [(4, 2), (2, 5), (6, 0), (1, 3)]
    """
    raise NotImplementedError


def remdm_probability(before: Tensor, after: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities that a known token is masked again, and that a masked one is revealed, in one step of ReMDM.

    before, after: the fraction of the tokens that is known before the step and after it, in [0, 1], before <=
    after. sigma: how often to take a known token back, in [0, 1]. All three are float tensors of one shape, as are both
    answers.

    A known token is taken back with probability sigma, but with no more than sigma_max = min(1, (1 - after) / before).
    With that sigma, a masked token is revealed with probability (after - (1 - sigma) before) / (1 - before).
    Where nothing is known, nothing is taken back (0). Where nothing is masked, nothing is revealed (0).

    >>> before, after = torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.25, 0.75, 0.75])
    >>> taken, revealed = remdm_probability(before, after, sigma=torch.tensor([0.25, 0.25, 1.0]))
    >>> taken.tolist(), revealed.tolist()
    ([0.0, 0.25, 0.5], [0.25, 0.75, 1.0])
    """
    raise NotImplementedError


def critic_loss(scores: Tensor, wrong: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of "this token is not the original one", a scalar in nats.

    scores (B, N): float logits, greater is more suspicious. wrong, counted: bool (B, N). The mean is over the
    counted tokens of all samples together, right and wrong ones; without `counted`, over all. Where no token counts,
    the loss is 0. A score of 1000 must not make the loss infinite or NaN.

    >>> wrong = torch.tensor([[True, False]])
    >>> round(critic_loss(torch.tensor([[0.0, 0.0]]), wrong).item(), 4)  # no opinion: log 2
    0.6931
    >>> round(critic_loss(torch.tensor([[-3.0, 0.0]]), wrong, counted=wrong).item(), 4)  # log(1 + e^3)
    3.0486
    """
    raise NotImplementedError
