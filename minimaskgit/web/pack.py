"""A run's weights as text in a page: every float32 by its highest bytes, as many as fit (weights.js reads them).

    numbers ──rounded──> highest byte of all, second byte of all, ... ──deflate──> base64

Alike bytes lie side by side, so that deflate finds the few exponents there are, and the zeros below weights that were
stored as bfloat16: those come through exactly.
"""

import base64
import json
import zlib
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from minimaskgit.runs.run import Run

Tensors = list[tuple[str, Tensor]]


def packed(numbers: np.ndarray, kept: int) -> bytes:
    """Float32 numbers (M,), rounded to their `kept` highest bytes of four, as deflated planes of bytes."""
    return zlib.compress(rounded(numbers, kept).view(np.uint8).reshape(-1, 4)[:, ::-1][:, :kept].T.tobytes(), 9)


def rounded(numbers: np.ndarray, kept: int) -> np.ndarray:
    """The nearest numbers whose lowest bytes are 0, to even if there are two: float32 (M,) to float32 (M,).

    With 2 bytes these are bfloat16's numbers, with 3 they have 15 bits after the point, with 4 they are all.
    """
    bits, dropped = numbers.astype("<f4").view("<u4"), 8 * (4 - kept)
    if dropped:
        bits = bits + ((1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1)).astype("<u4") >> dropped << dropped
    return bits.astype("<u4").view("<f4")


def as_text(block: bytes) -> str:
    return base64.b64encode(block).decode("ascii")


def models_of(run: Run) -> dict[str, tuple[dict[str, Any], Tensors]]:
    """The arguments and the tensors of each model that the run has, in the order in which they are packed."""
    models: dict[str, nn.Module] = {"tokenizer": run.tokenizer(), "transformer": run.transformer()}
    models |= {name: getattr(run, name)() for name in ("autoregressive", "critic") if finished(run.folder / name)}
    return {name: (arguments(model, run.folder / name), tensors(model)) for name, model in models.items()}


def finished(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def tensors(model: nn.Module) -> Tensors:
    """A model's weights by name; of a tokenizer's quantizer only the entries, which is all that remains of training."""
    named = [(name, value) for name, value in model.state_dict().items() if not name.startswith("quantizer.")]
    return [*named, ("entries", model.quantizer.entries().detach())] if hasattr(model, "quantizer") else named


def arguments(model: nn.Module, folder: Path) -> dict[str, Any]:
    """The arguments that build a saved model: those in its config.json, and the defaults of the others."""
    defaults = {
        name: one.default for name, one in signature(type(model)).parameters.items() if one.default != one.empty
    }
    return defaults | json.loads((folder / "config.json").read_text("utf-8"))
