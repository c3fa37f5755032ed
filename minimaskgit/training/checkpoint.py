"""Training state on disk: safetensors, never pickle (lesson 9; finished models: minimaskgit.runs.models).

    modules + optimizers + step ──one flat dict of tensors, and its digest──> checkpoint-00000500.safetensors
                                                                              checkpoint-00001000.safetensors ...

Each checkpoint is one file, written atomically, so that a run killed at any moment has only complete ones. A digest
reveals later damage, such as a flipped bit; then the checkpoint before it is used.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.common.files import atomic_write
from minimaskgit.runs.models import foreign
from minimaskgit.training.sharding import share_of, whole


class Stateful(Protocol):
    """A module, an optimizer, or anything else that saves and loads its state as tensors by name."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


# Errors that a damaged or foreign file can raise.
DAMAGE = (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError)


def save_checkpoint(
    folder: Path,
    step: int,
    seconds: float,
    parts: Mapping[str, Stateful],
    keep: int = 2,
    write: bool = True,
) -> None:
    """Atomically write the named parts, the number of steps done and the seconds they took.

    The newest `keep` checkpoints in `folder` are kept, the others deleted. write: true in only one of several
    processes; all of them must call this, because weights may be split between them. UserError if it cannot be written;
    earlier checkpoints are then intact.
    """
    tensors = {}
    for name, part in parts.items():
        for key, value in _tensors(part).items():
            value = whole(value.detach())
            if write:
                tensors[f"{name}.{key}"] = value.cpu().contiguous()
    if not write:
        return
    facts = {"step": str(step), "seconds": str(seconds)}
    with atomic_write(folder / f"checkpoint-{step:08d}.safetensors") as temporary:
        save_file(tensors, temporary, metadata=facts | {"digest": _digest(tensors, facts)})
    for path in (*checkpoints(folder)[:-keep], *folder.glob("checkpoint-*.partial")):  # the latter after a kill
        path.unlink()


def load_checkpoint(folder: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    """Restore the newest complete checkpoint into `parts`; returns its steps and seconds, or (0, 0.0) if none exists.

    A checkpoint that is damaged or has other shapes is reported in one line and renamed to .refused, and the one
    before it is used. UserError if none is left.
    """
    complaint = None
    for path in reversed(checkpoints(folder)):
        try:
            return _load(path, parts)
        except torch.OutOfMemoryError as error:
            cure = "free some, or resume on a device with more"
            raise UserError(f"too little memory to load {path}, which stays: {first_line(error)}; {cure}") from None
        except DAMAGE as error:
            reason = foreign(path) or first_line(error)
            if "Git LFS" in reason:
                raise UserError(f"{path.parent}: {reason}") from None
            complaint = f"{path} is damaged or not from this run ({reason})"
        # Outside `except`, where the error and its tensors are freed: Windows cannot rename a file that they still map.
        print(f"warning: {complaint}; renamed to .refused", file=sys.stderr)
        with contextlib.suppress(OSError):  # another process has renamed it already
            path.replace(path.with_suffix(".refused"))
    if complaint:
        raise UserError(f"{complaint}, and there is no earlier one; resume again to restart this stage")
    return 0, 0.0


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a stage's folder, newest last."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def steps_done(folder: Path) -> int:
    """The number of training steps that a stage's newest checkpoint holds; 0 if there is none."""
    return max((int(path.stem.removeprefix("checkpoint-")) for path in checkpoints(folder)), default=0)


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished stage."""
    for path in (*checkpoints(folder), *folder.glob("checkpoint-*.partial")):
        path.unlink(missing_ok=True)


def _load(path: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    if facts.pop("digest") != _digest(tensors, facts):
        raise ValueError("its digest does not match")
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        # Clone, because an optimizer keeps these tensors: the file would stay mapped, and Windows could not delete it.
        _restore(part, {key: value.clone() for key, value in own.items()})
    return int(facts["step"]), float(facts["seconds"])


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _tensors(part: Stateful) -> dict[str, Tensor]:
    if not isinstance(part, torch.optim.Optimizer):
        return part.state_dict()
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, state in part.state_dict()["state"].items()
        for key, value in state.items()
    }


def _restore(part: Stateful, tensors: dict[str, Tensor]) -> None:
    if not isinstance(part, torch.optim.Optimizer):
        current = part.state_dict()
        part.load_state_dict({key: share_of(current.get(key, value), value) for key, value in tensors.items()})
        return
    parameters = [parameter for group in part.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]  # the moments are split like it; the step count is not
        state.setdefault(int(number), {})[name] = share_of(parameter, value) if value.ndim else value
    # Settings such as the learning rate are not restored: they follow from the configuration and the step.
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
