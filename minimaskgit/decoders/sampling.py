"""With what noise tokens are drawn: logits (B, N, K) and progress r to the logits to draw from."""

from collections.abc import Callable

import torch
from torch import Tensor

from minimaskgit.decoders.loop import Sampling
from minimaskgit.decoders.orders import beta
from minimaskgit.decoding import TEMPERATURE


def tempered(temperature: float = 1.0, top_p: float = 1.0) -> Sampling:
    """Logits over `temperature`, and only the fewest codes whose probabilities add up to `top_p` (nucleus sampling)."""

    def sampling(logits: Tensor, r: float) -> Tensor:
        logits = logits.float()
        # The greatest logit becomes 0, because it would overflow when divided by almost nothing.
        logits = (logits - logits.amax(-1, keepdim=True)) / max(temperature, 1e-30)
        if top_p >= 1:
            return logits
        ordered, codes = logits.sort(dim=-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # of all likelier codes
        behind = before >= max(top_p, 1e-30)  # never the likeliest code, which has 0 before it
        outside = behind.scatter(-1, codes, behind)
        return logits.masked_fill(outside, -torch.inf)

    return sampling


def moment(temperature: float = TEMPERATURE) -> Sampling:
    """p^beta, beta = 1 + 1/alpha with alpha = temperature (1 - r), and p where alpha is 0; for `orders.moment`."""

    def sampling(logits: Tensor, r: float) -> Tensor:
        alpha = temperature * (1 - r)
        return logits.float() * beta(alpha) if alpha > 0 else logits.float()

    return sampling


def late_guidance(weight: float, start: float) -> Callable[[float], float]:
    """Guidance `weight` after progress `start`, none before: early guidance hurts (arXiv 2507.08965)."""
    return lambda r: weight if r > start else 0.0
