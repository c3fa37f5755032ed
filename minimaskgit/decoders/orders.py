"""Which tokens to keep: a priority (B, N) for each token of a `View`, the greatest first.

The paper keeps the most confident tokens. Others have asked for the clearest choice (margin), the least doubt
(entropy), tokens far from each other (Halton), or nothing at all (random). Lesson 10.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from minimaskgit.common.errors import UserError
from minimaskgit.decoders.loop import Order, View
from minimaskgit.decoding import TEMPERATURE, gumbel_noise


def confidence(temperature: float = TEMPERATURE) -> Order:
    """log p(token) + temperature (1 - r) x Gumbel noise, as released; at temperature 0, section 3.2's order."""

    def order(view: View) -> Tensor:
        log_p = view.log_probabilities().gather(-1, view.sampled[..., None]).squeeze(-1)
        return _noisy(log_p, view, temperature)

    return order


def margin(temperature: float = 0.0) -> Order:
    """The difference of the two greatest probabilities (Kim et al. 2025, arXiv 2502.06768)."""

    def order(view: View) -> Tensor:
        first, second = view.logits.float().softmax(-1).topk(2, dim=-1).values.unbind(-1)
        return _noisy((first - second).log(), view, temperature)

    return order


def entropy(temperature: float = 0.0) -> Order:
    """Minus the entropy of the token's distribution, in nats."""

    def order(view: View) -> Tensor:
        return _noisy(-entropies(view), view, temperature)

    return order


def random(view: View) -> Tensor:
    """No preference: what a masked diffusion model does."""
    return view.uniform()


def halton(view: View) -> Tensor:
    """The positions of the Halton sequence in turn, which are far from each other (Besnier et al. 2025).

    Each sample starts elsewhere: its sequence is rolled by a random number of positions. arXiv 2503.17076.
    """
    num_tokens = view.tokens.shape[1]
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise UserError(f"{num_tokens} tokens are no square grid, as the Halton order expects; choose another decoder")
    order = halton_order(side, side, view.tokens.device)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(num_tokens, device=order.device))
    start = (view.offset * num_tokens).long()  # (B,)
    return -((ranks[None] - start[:, None]) % num_tokens).float()


def moment(temperature: float = TEMPERATURE) -> Order:
    """Gumbel noise + log sum_x p(x)^beta, beta = 1 + 1/alpha, with alpha = temperature (1 - r): arXiv 2510.04525.

    With many tokens, the paper's noisy confidence chooses positions almost like this. Here their tokens are drawn only
    afterwards, from p^beta: use it with `sampling.moment`.
    """

    def order(view: View) -> Tensor:
        alpha = temperature * (1 - view.progress)
        if alpha == 0:  # the last step, or no noise: the surest positions
            return view.log_probabilities().amax(-1)
        scores = (beta(alpha) * view.log_probabilities()).logsumexp(-1)
        return scores + gumbel_noise(scores.shape, scores.device, view.generator)

    return order


def beta(alpha: float) -> float:
    """The power of moment sampling, 1 + 1/alpha; at most about 10^6, because greater ones overflow."""
    return 1 + 1 / max(alpha, 1e-6)


def _noisy(priority: Tensor, view: View, temperature: float) -> Tensor:
    """The priority with Gumbel noise that fades out, as the paper's confidence has it."""
    tau = temperature * (1 - view.progress)
    return priority + tau * gumbel_noise(priority.shape, priority.device, view.generator)


def entropies(view: View) -> Tensor:
    """Entropy of each token's distribution in nats, (B, N)."""
    log_p = view.log_probabilities()
    return -(log_p.exp() * log_p).sum(-1)


@lru_cache(maxsize=16)
def halton_order(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """All positions of a grid, row-major, in the order in which the Halton sequence of bases 2 and 3 visits them: (N,).

    Point i is at row floor(h phi_2(i)) and column floor(w phi_3(i)), i = 1, 2, ...; visited positions are skipped.
    Kept on `device`, because moving it there in every step would wait for the device.
    """
    seen: dict[int, None] = {}
    i = 0
    while len(seen) < height * width:
        i += 1
        row, column = (
            size * digits // whole
            for size, (digits, whole) in ((height, radical_inverse(i, 2)), (width, radical_inverse(i, 3)))
        )
        seen[row * width + column] = None
    return torch.tensor(list(seen), device=device)


def radical_inverse(i: int, base: int) -> tuple[int, int]:
    """phi_b(i) as a fraction: the digits of i in base b, mirrored at the point, as 6 = 110 in base 2 -> 0.011 = 3/8."""
    mirrored, whole = 0, 1
    while i:
        i, digit = divmod(i, base)
        mirrored, whole = mirrored * base + digit, whole * base
    return mirrored, whole
