"""A trained model on disk: weights as safetensors, and the arguments that build the model as JSON."""

import contextlib
import io
from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import writing, written_aside


def save_model(model: nn.Module, folder: Path) -> None:
    """`save_pretrained` such that the weights appear at once and last: where they are, the model is finished."""
    aside = folder / "partial"
    with writing(folder / "model.safetensors"):
        model.save_pretrained(aside)
    for name in ("config.json", "model.safetensors"):
        with written_aside(folder / name) as final:
            (aside / name).replace(final)
    for leftover in aside.iterdir():  # the mixin's model card
        leftover.unlink()
    aside.rmdir()


def load_model(kind: type[nn.Module], folder: Path) -> nn.Module:
    """A finished model in eval mode from the folder `save_model` wrote; UserError if absent or damaged."""
    if not (folder / "model.safetensors").exists():
        command = f"python -m minimaskgit.train --out {folder.parent} --stage {folder.name} --resume"
        raise UserError(f"no trained {kind.__name__.lower()} in {folder}; train it with {command}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the mixin prints where it loads from
            return kind.from_pretrained(folder, strict=True).eval()
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the weights in {folder} are damaged: {str(error).strip().splitlines()[0]}") from None
