"""A run folder: what training and other commands write, and what all commands read.

runs/demo/  config.json  labels.json  data.json (what it learned from: origin.py)
    classifier/  tokenizer/  transformer/  autoregressive/  critic/  gan/  diffusion/
        model.safetensors + config.json (once finished), checkpoint-STEP.safetensors (until then), trained_on.json,
        metrics.jsonl, speed.jsonl, tensorboard/, evaluation.json, pictures, nan.json (of a step that failed)
    initial/ (a copy of the run that it started from: training/initial.py)
    decoding.json (policies that search found)  judge/  evaluation/  compare/  search/ and others, by command
    lock  lock.json (while training)
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write
from minimaskgit.common.machine import pick_device
from minimaskgit.common.precision import DecodingPrecision, Precision, autocast, choose, in_int8
from minimaskgit.decoders.critic import Critic
from minimaskgit.rivals.diffusion import UNet
from minimaskgit.rivals.gan import Generator
from minimaskgit.runs.config import Config, load_config
from minimaskgit.runs.models import is_finished, load_model, other_source, training_command
from minimaskgit.runs.searched import NAME as SEARCHED
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class Run:
    """A trained run; its models are loaded on demand, in eval mode, on `device`."""

    folder: Path
    config: Config
    label_names: list[str]
    device: torch.device
    precision: Precision | Literal["int8"]  # of matrix products here; training may have used another

    def has(self, stage: str) -> bool:
        """Whether the run has a finished model of this stage."""
        return is_finished(self.folder / stage)

    @property
    def imported(self) -> bool:
        """Whether its weights are from elsewhere: training leaves an evaluation, which an export keeps."""
        return not (self.folder / "transformer" / "evaluation.json").exists()

    def tokenizer(self) -> Tokenizer:
        return load_model(Tokenizer, self.folder / "tokenizer").to(self.device)

    def transformer(self) -> Transformer:
        model = self._of_tokens("transformer")
        return in_int8(model) if self.precision == "int8" else model

    def autoregressive(self) -> Transformer:
        return self._of_tokens("autoregressive")

    def critic(self) -> Critic:
        folder, transformer = self.folder / "critic", self.folder / "transformer"
        critic, shape = load_model(Critic, folder), self.config.transformer
        complaint = other_source(folder, transformer)
        if (critic.width, critic.depth) != (shape.width, shape.depth):
            complaint = f"{folder} was trained on another transformer than {transformer}"
        if complaint:
            raise UserError(f"{complaint}; delete {folder} and train it again: {training_command(folder)}")
        return critic.to(self.device)

    def gan(self) -> Generator:
        return load_model(Generator, self.folder / "gan").to(self.device)

    def diffusion(self) -> UNet:
        return load_model(UNet, self.folder / "diffusion").to(self.device)

    def _of_tokens(self, stage: str) -> Transformer:
        if complaint := other_source(self.folder / stage, self.folder / "tokenizer"):
            _warn(f"{complaint}: its pictures will make no sense")
        return load_model(Transformer, self.folder / stage).to(self.device)

    def autocast(self) -> torch.autocast:
        """A context in which the models compute in the run's precision."""
        return autocast(self.device, self.precision)


@cache
def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)  # once, however often the model is loaded


def open_run(folder: Path, device: str = "auto", precision: DecodingPrecision = "auto") -> Run:
    """Open the run in `folder`, to use in the given precision, by default the faster one; UserError if none."""
    if folder.is_file():
        raise UserError(f"{folder} is a file; expected a run folder")
    if not folder.is_dir():
        raise UserError(f"no run folder {folder}; train one with {cli.typed('train', '--out', folder)}")
    if is_finished(folder):
        raise UserError(f"{folder} is one of a run's models; expected the run's folder, {folder.parent}")
    config, names = load_config(folder / "config.json"), label_names(folder)
    place = pick_device(device)
    return Run(folder, config, names, place, choose(precision, place))


def label_names(folder: Path) -> list[str]:
    """The class names of the run in `folder`; UserError if its list of them is missing or broken."""
    try:
        return json.loads((folder / "labels.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder / 'labels.json'} is missing or broken; it lists the class names") from None


# The pretrained weights, each folder a run; a wheel has them inside the package, a clone beside it.
PACKAGE = Path(__file__).parents[1]
PRETRAINED = PACKAGE / "pretrained" if (PACKAGE / "pretrained").is_dir() else PACKAGE.parent / "data" / "pretrained"
# What the lessons write goes into the clone of the project, or, with an installed package, into the current folder.
ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else Path()


def chosen_run(
    run: Path | None, pretrained: str | None, device: str = "auto", precision: DecodingPrecision = "auto"
) -> Run:
    """The run that a command was given, as a folder or the name of pretrained weights; UserError unless exactly one."""
    return open_run(_chosen_folder(run, pretrained), device, precision)


def chosen_work_folder(run: Path | None, pretrained: str | None) -> Path:
    """As `chosen_run`, for commands that write into the run's folder: its path.

    Of pretrained weights it is a copy in runs/pretrained/NAME, brought up to date with the package; policies found by a
    search there are kept as long as the weights are the same. UserError for a folder of the package itself.
    """
    source = _chosen_folder(run, pretrained)
    if pretrained is None:
        check_outside_of_package("--run", source, "use --pretrained NAME")
        return source
    copy = Path("runs") / "pretrained" / pretrained
    files = {file: copy / file.relative_to(source) for file in sorted(source.rglob("*")) if file.is_file()}
    same = lambda file, target: target.exists() and target.read_bytes() == file.read_bytes()
    outdated = {file: target for file, target in files.items() if not same(file, target)}
    new_weights = any(file.suffix == ".safetensors" for file in outdated)
    for file, target in outdated.items():
        if new_weights or target.name != SEARCHED or not target.exists():
            with atomic_write(target) as aside:
                shutil.copyfile(file, aside)
    return copy


def run_or_pretrained(name: str) -> Path:
    """The folder of a run, or of pretrained weights if they have this name; UserError if it is neither."""
    names = pretrained_names()
    folder = PRETRAINED / name if name in names else Path(os.path.expanduser(name))
    if not name or not (folder / "config.json").exists():
        known = ", ".join(names)
        raise UserError(f"--init-from {name!r}: expected a run folder, or the name of pretrained weights: {known}")
    return folder


def pretrained_names() -> list[str]:
    """The names of all pretrained weights."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def packaged(path: Path) -> bool:
    """Whether a path is in the folder of the pretrained weights, where nothing is written."""
    return Path(os.path.realpath(path)).is_relative_to(PRETRAINED.resolve())  # resolve() fails on a circle of links


def check_outside_of_package(option: str, path: Path, advice: str = "choose another folder") -> None:
    """UserError for a path in the folder of the pretrained weights."""
    if packaged(path):
        raise UserError(
            f"{option} {path} is in the folder of the pretrained weights, where nothing is written; {advice}"
        )


def _chosen_folder(run: Path | None, pretrained: str | None) -> Path:
    if (run is None) == (pretrained is None):
        raise UserError("expected either --run FOLDER or --pretrained NAME")
    if run is not None:
        return run
    names = pretrained_names()
    if pretrained not in names:
        raise UserError(f"--pretrained {pretrained}: not in {PRETRAINED}; available: {', '.join(names) or 'none'}")
    return PRETRAINED / pretrained
