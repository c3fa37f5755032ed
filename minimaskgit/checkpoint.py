"""Training state on disk, and finished models back from it: safetensors and JSON, never pickle (lesson 9).

    modules + optimizers + step ──one flat dict of tensors──> checkpoint.safetensors (written aside, then renamed)

One file, renamed into place, so that a run stopped at any moment has the old state or the new one, never half of one.
"""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from minimaskgit.errors import UserError

Stateful = nn.Module | torch.optim.Optimizer


def save_checkpoint(path: Path, step: int, seconds: float, parts: Mapping[str, Stateful]) -> None:
    """Write the named modules and optimizers, the number of steps done and the seconds they took, atomically."""
    tensors = {}
    for name, part in parts.items():
        tensors |= {f"{name}.{key}": value.detach().cpu().contiguous() for key, value in _tensors(part).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    save_file(tensors, aside, metadata={"step": str(step), "seconds": str(seconds)})
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def load_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    """Restore what `save_checkpoint` wrote into the same parts; gives steps and seconds, 0 and 0 without a file.

    UserError if the file is damaged or belongs to other shapes.
    """
    if not path.exists():
        return 0, 0.0
    try:
        with safe_open(path, framework="pt") as file:
            step, seconds = int(file.metadata()["step"]), float(file.metadata()["seconds"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
        for name, part in parts.items():
            own = {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}
            _restore(part, own)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is damaged or not of this run ({reason}); delete it to start anew") from None
    return step, seconds


def save_model(model: nn.Module, folder: Path) -> None:
    """`save_pretrained` such that the weights appear at once and last: where they are, the model is finished."""
    aside = folder / "partial"
    model.save_pretrained(aside)
    for name in ("config.json", "model.safetensors"):
        (aside / name).replace(folder / name)
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


def _tensors(part: Stateful) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, state in part.state_dict()["state"].items()
        for key, value in state.items()
    }


def _restore(part: Stateful, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    # Settings such as the learning rate are not restored: the configuration gives them, a function of the step.
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
