"""Training state on disk, and finished models back from it: safetensors and JSON, never pickle (lesson 9).

    modules + optimizers + step ──one flat dict of tensors, and its digest──> checkpoint-00000500.safetensors
                                                                              checkpoint-00001000.safetensors ...

One file a checkpoint, written aside and renamed, so that a run stopped at any moment has whole ones only. What happens
to a file later, a flipped bit say, its digest tells; then the checkpoint before it is used.
"""

import contextlib
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import written_aside
from minimaskgit.training.sharding import share_of, whole


class Stateful(Protocol):
    """A module, an optimizer, or whatever else gives its state as tensors by name and takes it back."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


# What goes wrong when a file is not what it should be.
DAMAGE = (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError)


def save_checkpoint(
    folder: Path,
    step: int,
    seconds: float,
    parts: Mapping[str, Stateful],
    score: float | None = None,
    keep: int = 2,
    write: bool = True,
) -> None:
    """Write the named parts, the number of steps done and the seconds they took; whole or not at all.

    score: how good this state is, less being better. Of all checkpoints in `folder` the newest `keep` and the one of
    the best score stay. UserError if it cannot be written; the ones before are then intact. Of several processes all
    call this, for what is split between them, and one has `write`.
    """
    tensors = {}
    for name, part in parts.items():
        for key, value in _tensors(part).items():
            value = whole(value.detach())
            if write:
                tensors[f"{name}.{key}"] = value.cpu().contiguous()
    if not write:
        return
    facts = {"step": str(step), "seconds": str(seconds)} | ({} if score is None else {"score": str(score)})
    with written_aside(folder / f"checkpoint-{step:08d}.safetensors") as aside:
        save_file(tensors, aside, metadata=facts | {"digest": _digest(tensors, facts)})
    newest_last = checkpoints(folder)
    best = min(newest_last, key=_score)
    for path in set(newest_last[:-keep]) - {best}:
        path.unlink()


def load_checkpoint(folder: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    """Restore the newest whole checkpoint into the same parts; gives steps and seconds, 0 and 0 where there is none.

    One that is damaged or belongs to other shapes is told in a line, renamed to .refused, and the one before it used.
    UserError if none is left.
    """
    complaint = None
    for path in reversed(checkpoints(folder)):
        try:
            return _load(path, parts)
        except DAMAGE as error:
            reason = str(error).strip().splitlines()[0]
            complaint = f"{path} is damaged or not of this run ({reason})"
        # Out of `except`: with the error go the tensors that map the file, which Windows would not rename until then.
        print(f"warning: {complaint}; set aside as .refused", file=sys.stderr)
        with contextlib.suppress(OSError):  # another process was faster
            path.replace(path.with_suffix(".refused"))
    if complaint:
        raise UserError(f"{complaint}, and there is none before it; resume once more to start this stage anew")
    return 0, 0.0


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a stage's folder, newest last."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def delete_checkpoints(folder: Path) -> None:
    """They have served."""
    for path in (*checkpoints(folder), *folder.glob("checkpoint-*.partial")):
        path.unlink(missing_ok=True)


def _load(path: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    if facts.pop("digest") != _digest(tensors, facts):
        raise ValueError("its digest does not fit")
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        # Copies, for an optimizer keeps what it is given: the file would stay mapped, and Windows could not delete it.
        _restore(part, {key: value.clone() for key, value in own.items()})
    return int(facts["step"]), float(facts["seconds"])


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _score(path: Path) -> float:
    try:
        with safe_open(path, framework="pt") as file:
            return float(file.metadata()["score"])
    except DAMAGE:
        return math.inf


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
        there = part.state_dict()
        part.load_state_dict({key: share_of(there.get(key, value), value) for key, value in tensors.items()})
        return
    parameters = [parameter for group in part.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]  # the moments are split as it is; the number of steps is not
        state.setdefault(int(number), {})[name] = share_of(parameter, value) if value.ndim else value
    # Settings such as the learning rate are not restored: the configuration gives them, a function of the step.
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
