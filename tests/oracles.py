"""The paper's formulas in plain numpy and double precision, as references for the tests.

And the released code's decoding, which is in float32.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
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


def instead(found: Tensor | np.ndarray | float, expected: Tensor | np.ndarray | float) -> str:
    """What came back and what should have, with as many digits as tell the two apart, and an unusual dtype."""
    one, other = (
        np.asarray(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x) for x in (found, expected)
    )
    one, other = (x.astype(float) if x.dtype.kind == "f" else x for x in (one, other))  # float32 has 0.6 as 0.60000002
    for digits in (3, 5, 7, 9):
        texts = [str((x.round(digits) + 0.0 if x.dtype.kind == "f" else x).tolist()) for x in (one, other)]  # no -0.0
        if texts[0] != texts[1]:
            break
    unusual = isinstance(found, Tensor) and found.dtype not in (torch.float32, torch.float64, torch.int64)
    return f"returned {texts[0]}{f' ({found.dtype})' if unusual else ''}; expected {texts[1]}"


def dtype(found: Tensor, expected: torch.dtype) -> str:
    """The same of a dtype."""
    kind = found.dtype if isinstance(found, Tensor) else "a numpy array"
    return f"returned {kind}; expected {expected}".replace("torch.", "")


def shape(found: Tensor, expected: Sequence[int]) -> str:
    """The same of a shape."""
    return f"returned a tensor of shape {tuple(found.shape)}; expected {tuple(expected)}"


def plain(found: object) -> float:
    """An answer that must be a plain number, Python's or numpy's; a numpy number arrives as an array without sides."""
    is_number = isinstance(found, int | float) or (isinstance(found, np.ndarray) and found.shape == ())
    assert is_number, f"returned a {type(found).__name__}; expected a plain number"
    return found


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


def released_steps(
    canvas: np.ndarray,
    mask_id: int,
    predict: Callable[[np.ndarray], Tensor],
    drawn: list[np.ndarray],
    noise: list[np.ndarray],
    steps: int,
    start_step: int,
) -> Iterator[np.ndarray]:
    """The canvas (B, N) after each step of the released algorithm under the cosine, from draws and noise as given."""
    start = (canvas == mask_id).sum(1, keepdims=True)
    for step, codes, gumbel in zip(range(start_step, steps), drawn, noise):
        unknown = canvas == mask_id
        tokens = np.where(unknown, codes, canvas)
        log_p = np.take_along_axis(log_softmax(predict(canvas)), np.where(unknown, tokens, 0)[..., None], -1)[..., 0]
        ratio = np.float32(step + 1) / np.float32(steps)
        sure = np.where(unknown, log_p + 4.5 * (1 - (step + 1) / steps) * gumbel, np.inf)
        count = np.floor(start.astype(np.float32) * np.cos(np.float32(np.pi / 2) * ratio)).astype(int)
        count = np.maximum(1, np.minimum(unknown.sum(1, keepdims=True) - 1, count))
        ordered = np.sort(np.pad(sure, ((0, 0), (0, 1)), constant_values=np.inf), 1)  # the class is a known token too
        canvas = (
            tokens if step == steps - 1 else np.where(sure < np.take_along_axis(ordered, count, 1), mask_id, tokens)
        )
        yield canvas


def released_region(box: tuple[int, int, int, int]) -> np.ndarray:
    """The tokens that the released code's edit of a 256 x 256 picture masks: bool (16, 16)."""
    x0, y0, x1, y1 = box
    rows, columns = (
        slice(max(0, low // 16 - 1), min(16, (high - low) // 16 + low // 16 + 1)) for low, high in ((y0, y1), (x0, x1))
    )
    region = np.zeros((16, 16), bool)
    region[rows, columns] = True
    return region
