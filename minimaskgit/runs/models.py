"""A trained model on disk: weights as safetensors, and the arguments that build the model as JSON."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError, first_line
from minimaskgit.common.files import atomic_write, write_json, writing


def is_finished(folder: Path) -> bool:
    """Whether a model in this folder is finished: its weights are written last."""
    return (folder / "model.safetensors").exists()


def save_model(model: nn.Module, folder: Path) -> None:
    """Save as `save_pretrained` does, but atomically and the weights last, as `is_finished` expects."""
    partial = folder / "partial"
    with writing(folder / "model.safetensors"):
        model.save_pretrained(partial)
    for name in ("config.json", "model.safetensors"):
        with atomic_write(folder / name) as temporary:
            (partial / name).replace(temporary)
    for leftover in partial.iterdir():  # the mixin's model card
        leftover.unlink()
    partial.rmdir()


def training_seconds(folder: Path, stages: Iterable[str]) -> dict[str, float]:
    """How long those of a run's stages took that were trained here."""
    files = {stage: folder / stage / "evaluation.json" for stage in stages}
    return {stage: json.loads(file.read_text("utf-8"))["seconds"] for stage, file in files.items() if file.exists()}


def load_model(kind: type[nn.Module], folder: Path) -> nn.Module:
    """A finished model in eval mode from the folder `save_model` wrote; UserError if absent or damaged.

    As `from_pretrained`, but quick and without a copy: weights of a file of float32 are a private view of the file.
    """
    path = folder / "model.safetensors"
    if not is_finished(folder):
        raise UserError(f"no trained {folder.name} in {folder}; train it with {training_command(folder)}")
    try:
        given, known = json.loads((folder / "config.json").read_text("utf-8")), inspect.signature(kind).parameters
        with Weightless():
            model = kind(**{name: value for name, value in given.items() if name in known})
        weights = {name: x.float() if x.is_floating_point() else x for name, x in load_file(path).items()}
        model.load_state_dict(weights, assign=True)
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the weights in {folder} are damaged: {foreign(path) or first_line(error)}") from None
    return model.eval()


class Weightless(TorchFunctionMode):
    """Within this context new models have weights without values: random ones take the paper's model half a minute.

    Only what begins as `torch.empty` is on the meta device, so that the buffers that no file has get their values.
    """

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.empty:
            return torch.empty(*args, **kwargs | {"device": "meta"})
        filled = args[0] if args else kwargs.get("tensor")  # torch.nn.init names it
        if function.__name__ in ("normal_", "uniform_") and filled.is_meta:
            return filled  # where PyTorch would import its compiler first, which takes a second
        return function(*args, **kwargs)


def arguments(kind: type[nn.Module], folder: Path) -> dict[str, Any]:
    """The arguments that build the finished model in a folder; defaults for those that an earlier version lacked."""
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters} | json.loads((folder / "config.json").read_text("utf-8"))


def training_command(folder: Path) -> str:
    """The command that trains the stage of this folder in a run."""
    return cli.typed("train", "--out", folder.parent, "--stage", folder.name, "--resume")


def foreign(path: Path, expected: str = "a safetensors file") -> str | None:
    """What a file of weights is instead, and what to do, as one line; None if it may be what is expected."""
    try:
        with path.open("rb") as file:
            start = file.read(1000).lstrip().lower()
    except OSError:
        return None
    if start.startswith(b"version https://git-lfs.github.com/"):
        problem = "a Git LFS pointer, in place of the file itself: run git lfs pull"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        problem = "a web page: download the file itself"
    elif not path.stat().st_size:
        problem = "empty: copy or download it again"
    else:
        return None
    return f"{path.name} is not {expected}: it is {problem}"


def load_cache(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file that can be computed again; None if it is absent or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


# --- Whose tokens a transformer knows, and whose features a critic: MODEL/trained_on.json ---


def digest(folder: Path) -> str:
    """A short hash of a finished model's weights."""
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def record_source(folder: Path, source: Path) -> None:
    """Record which model this one is trained on, RUN/tokenizer or RUN/transformer, with a digest of its weights."""
    write_json(folder / "trained_on.json", {source.name: digest(source)})


def other_source(folder: Path, source: Path) -> str | None:
    """One line if the model in `folder` was trained on what another source made; None if not, or unknown."""
    if foreign(source / "model.safetensors"):
        return None  # reading it will say so
    try:
        recorded = json.loads((folder / "trained_on.json").read_text("utf-8"))[source.name]
        same = recorded == digest(source)
    except (OSError, ValueError, LookupError, TypeError):  # of an earlier version, or without a source
        return None
    made = {"tokenizer": "tokens", "transformer": "features"}[source.name]
    return None if same else f"{folder} was trained on the {made} of another {source.name} than {source} is now"
