"""A run's weights as text in a page: every float32 by its highest bits, as many as fit (weights.js reads them).

    numbers ──rounded──> highest byte of all, second byte of all, ... ──deflate──> base64

Alike bytes lie side by side, so that deflate finds the few exponents there are, and the zeros below weights that were
stored as bfloat16: those come through exactly.
"""

import base64
import zlib
from typing import Any

import numpy as np
from torch import Tensor, nn

from minimaskgit.runs.models import arguments
from minimaskgit.runs.run import Run

Tensors = list[tuple[str, Tensor]]


def packed(numbers: np.ndarray, bits: int) -> bytes:
    """Float32 numbers (M,), rounded to their highest bits, as deflated planes of bytes: (bytes of each, M)."""
    planes = rounded(numbers, bits).view(np.uint8).reshape(-1, 4).T[::-1][: planes_of(bits)]
    deflate = zlib.compressobj(9, strategy=zlib.Z_RLE)  # nothing repeats but zeros, so a search would only take longer
    return deflate.compress(planes.tobytes()) + deflate.flush()


def planes_of(bits: int) -> int:
    """How many bytes have so many bits."""
    return -(-bits // 8)


def rounded(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The nearest numbers of which only the highest bits are not 0, to even if there are two: float32 (M,).

    16 bits are bfloat16's numbers, with 7 bits after the point; 32 are all of float32's.
    """
    whole, dropped = numbers.astype("<f4").view("<u4").astype(np.uint64), 32 - bits
    half = ((1 << dropped) >> 1) - 1 + ((whole >> dropped) & 1) if dropped else 0
    return ((whole + half) >> dropped << dropped).astype("<u4").view("<f4")


def as_text(block: bytes) -> str:
    return base64.b64encode(block).decode("ascii")


def models_of(run: Run) -> dict[str, tuple[dict[str, Any], Tensors]]:
    """The arguments and the tensors of each model that the run has, in the order in which they are packed."""
    models: dict[str, nn.Module] = {"tokenizer": run.tokenizer(), "transformer": run.transformer()}
    for name in ("autoregressive", "critic"):
        if run.has(name):
            models[name] = getattr(run, name)()
    return {name: (arguments(type(model), run.folder / name), tensors(model)) for name, model in models.items()}


def tensors(model: nn.Module) -> Tensors:
    """A model's weights by name; of a tokenizer's quantizer only the entries, which is all that remains of training."""
    named = [(name, value) for name, value in model.state_dict().items() if not name.startswith("quantizer.")]
    return [*named, ("entries", model.quantizer.entries().detach())] if hasattr(model, "quantizer") else named
