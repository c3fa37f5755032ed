"""Check a command's options and the settings of a run; an impossible one is reported in one line that names it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from minimaskgit.common import files
from minimaskgit.common.errors import UserError
from minimaskgit.runs.choices import DecodingOptions
from minimaskgit.runs.config import Config, adapter, problem
from minimaskgit.runs.run import check_outside_of_package

Options = TypeVar("Options")


def checked(options: Options) -> Options:
    """A command's options, with ~ in paths expanded; UserError for one outside of the limits beside it."""

    def one(value: object) -> object:
        if isinstance(value, DecodingOptions):
            return checked(value)
        return home(value) if isinstance(value, Path) else value

    try:
        return TypeAdapter(type(options)).validate_python({name: one(value) for name, value in vars(options).items()})
    except ValidationError as error:
        raise _refused(error) from None


def home(path: str | Path) -> Path:
    """The path with ~ expanded, which a shell leaves as it is in --out=~/picture.png."""
    return Path(os.path.expanduser(path))


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None] | None = None) -> None:
    """Before any work, UserError for a file that cannot be written or that is an input or another output."""
    for option, path in outputs.items():
        if path is not None:
            check_outside_of_package(option, path)
    files.check_outputs(outputs, inputs or {})


def check_output_folder(option: str, path: Path) -> None:
    """Before any work, UserError for a folder in which nothing can be written."""
    check_outside_of_package(option, path)
    files.check_output_folder(option, path)


def check(config: Config) -> None:
    """Raise UserError for a setting that cannot work."""
    _check_limits(config)
    image, f = config.images.size, config.tokenizer.patch * 2 ** (len(config.tokenizer.multipliers) - 1)
    if image % f:
        raise UserError(
            f"--images.size {image} is not a multiple of the downsampling {f},"
            " which is --tokenizer.patch times 2 for each of --tokenizer.multipliers but the first"
        )
    if config.images.crop >= image:
        raise UserError(f"--images.crop {config.images.crop}: expected less than --images.size {image}")
    if config.fd_samples == 1:
        raise UserError("--fd-samples 1: expected 2 or more, whose covariance can be computed, or 0 for no FD")
    if not config.tokenizer_training.steps and not config.init_from:
        raise UserError("--tokenizer-training.steps 0: expected 1 or more; only --init-from brings a trained tokenizer")
    gan = config.tokenizer_training
    if gan.gan_weight and image < 3 * 2**gan.gan_layers:
        raise UserError(
            f"--tokenizer-training.gan-layers {gan.gan_layers}: too many to halve {image} pixels;"
            f" expected fewer, or --images.size {3 * 2**gan.gan_layers} or more"
        )
    if config.decoding.decoder == "critic":
        raise UserError(
            "--decoding.decoder critic: a transformer in training has no critic; leave it out, train one with"
            " --stage critic, and decode with --decoder critic"
        )
    if config.decoding.guidance and not config.transformer_training.class_dropout:
        raise UserError(
            f"--decoding.guidance {config.decoding.guidance}: guidance compares predictions with and without a class,"
            " and --transformer-training.class-dropout 0 trains only with one; use --decoding.guidance 0, or"
            " --transformer-training.class-dropout 0.1"
        )
    if config.transformer.width % config.transformer.heads:
        raise UserError(
            f"--transformer.width {config.transformer.width} is not a multiple of"
            f" --transformer.heads {config.transformer.heads}"
        )
    if config.transformer.rope and (channels := config.transformer.width // config.transformer.heads) % 4:
        raise UserError(
            f"--transformer.rope: {channels} channels for each of --transformer.heads {config.transformer.heads};"
            " expected a multiple of 4, which fewer heads have"
        )
    if config.tokenizer.linear and config.tokenizer.ema:
        raise UserError("--tokenizer.linear and --tokenizer.ema: expected one of them, as each moves the codes alone")


def _check_limits(config: Config) -> None:
    """Every setting by itself, against the type and limits beside it in config.py."""
    try:
        adapter().validate_json(json.dumps(asdict(config)))
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> UserError:
    path, complaint = problem(error)
    return UserError("--" + complaint.replace(".".join(path), ".".join(path).replace("_", "-"), 1))
