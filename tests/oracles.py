"""The paper's formulas in plain numpy and double precision, as references for the tests."""

import numpy as np
from torch import Tensor

# gamma(r) of N tokens; N is at least 2.
GAMMA = {
    "cosine": lambda r, n: np.cos(np.pi * r / 2),
    "linear": lambda r, n: 1 - r,
    "square": lambda r, n: 1 - r * r,
    "cubic": lambda r, n: 1 - r * r * r,
    "exponential": lambda r, n: 1 - np.exp((r - 1) * np.log(n)),
    "square_root": lambda r, n: 1 - np.sqrt(r),
    "logarithmic": lambda r, n: np.minimum(1, -np.log(np.maximum(r, 1e-300)) / np.log(n)),
    "bert": lambda r, n: 0.15 + 0 * r,
}


def cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float) -> float:
    """-sum_k q_k log p_k with q = (1 - s) one-hot + s / K, averaged over the masked positions."""
    log_p = log_softmax(logits)
    q = (1 - smoothing) * np.eye(logits.shape[-1])[targets.numpy()] + smoothing / logits.shape[-1]
    return -(q * log_p).sum(-1)[mask.numpy()].mean()


def readable(x: Tensor | np.ndarray) -> list:
    """Round numbers for display to students."""
    return np.asarray(x, dtype=float).round(3).tolist()


def log_softmax(logits: Tensor) -> np.ndarray:
    """log p over the last axis."""
    z = logits.double().numpy()
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def balls(cloud: Tensor, k: int) -> list[tuple[np.ndarray, float]]:
    """The centre and radius of each vector's ball, found by sorting all distances from it."""
    points = cloud.double().numpy()
    return [(x, sorted(np.sqrt(np.square(x - y).sum()) for y in points)[k]) for x in points]


def holds(ball: tuple[np.ndarray, float], point: np.ndarray, slack: float = 1e-6) -> bool:
    """Whether a point lies in a ball whose radius is enlarged by the fraction `slack`."""
    centre, radius = ball
    return np.sqrt(np.square(centre - point).sum()) <= radius * (1 + slack)
