"""A run folder: what training leaves and what every other command starts from.

runs/demo/  config.json  labels.json
    classifier/  tokenizer/  transformer/  autoregressive/  gan/  diffusion/
        model.safetensors + config.json (once finished), checkpoint-STEP.safetensors (until then),
        metrics.jsonl, tensorboard/, evaluation.json, pictures
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import pick_device
from minimaskgit.common.precision import AnyPrecision, Precision, autocast, choose
from minimaskgit.rivals.diffusion import UNet
from minimaskgit.rivals.gan import Generator
from minimaskgit.runs.config import Config, load_config
from minimaskgit.runs.models import load_model
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class Run:
    """A trained run; its models are loaded when asked for, in eval mode, on `device`."""

    folder: Path
    config: Config
    label_names: list[str]
    device: torch.device
    precision: Precision  # of matrix products here, whatever the run was trained in

    def tokenizer(self) -> Tokenizer:
        return load_model(Tokenizer, self.folder / "tokenizer").to(self.device)

    def transformer(self) -> Transformer:
        return load_model(Transformer, self.folder / "transformer").to(self.device)

    def autoregressive(self) -> Transformer:
        return load_model(Transformer, self.folder / "autoregressive").to(self.device)

    def gan(self) -> Generator:
        return load_model(Generator, self.folder / "gan").to(self.device)

    def diffusion(self) -> UNet:
        return load_model(UNet, self.folder / "diffusion").to(self.device)

    def autocast(self) -> torch.autocast:
        """The precision to use the models in."""
        return autocast(self.device, self.precision)


def open_run(folder: Path, device: str = "auto", precision: AnyPrecision = "auto") -> Run:
    """The run in `folder`, for use in the precision asked for, by default the fast one; UserError if there is none."""
    if not folder.is_dir():
        raise UserError(f"no run folder {folder}; train one with python -m minimaskgit.train --out {folder}")
    config = load_config(folder / "config.json")
    try:
        names = json.loads((folder / "labels.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder / 'labels.json'} is missing or broken; it lists the class names") from None
    place = pick_device(device)
    return Run(folder, config, names, place, choose(precision, place))


# The weights that come along, each folder a run: a wheel has them inside the package, a clone beside it.
PACKAGE = Path(__file__).parents[1]

PRETRAINED = PACKAGE / "pretrained" if (PACKAGE / "pretrained").is_dir() else PACKAGE.parent / "data" / "pretrained"


def chosen_run(run: Path | None, pretrained: str | None, device: str = "auto", precision: AnyPrecision = "auto") -> Run:
    """The run that a command was given, by folder or by the name of pretrained weights; UserError unless one is."""
    if (run is None) == (pretrained is None):
        raise UserError("expected one of --run FOLDER and --pretrained NAME")
    if run is not None:
        return open_run(run, device, precision)
    names = sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))
    if pretrained not in names:
        raise UserError(f"--pretrained {pretrained}: not in {PRETRAINED}; there {', '.join(names) or 'is nothing'}")
    return open_run(PRETRAINED / pretrained, device, precision)
