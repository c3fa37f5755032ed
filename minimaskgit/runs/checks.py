"""Check the settings of a run; an impossible one is reported in one line that names the option."""

import json
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import Config, problem


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
    gan = config.tokenizer_training
    if gan.gan_weight and image < 3 * 2**gan.gan_layers:
        raise UserError(
            f"--tokenizer-training.gan-layers {gan.gan_layers}: too many to halve {image} pixels;"
            f" expected fewer, or --images.size {3 * 2**gan.gan_layers} or more"
        )
    if config.transformer.width % config.transformer.heads:
        raise UserError(
            f"--transformer.width {config.transformer.width} is not a multiple of"
            f" --transformer.heads {config.transformer.heads}"
        )


def _check_limits(config: Config) -> None:
    """Every setting by itself, against the type and limits beside it in config.py."""
    try:
        TypeAdapter(Config).validate_json(json.dumps(asdict(config)))
    except ValidationError as error:
        path, complaint = problem(error)
        raise UserError("--" + complaint.replace(".".join(path), ".".join(path).replace("_", "-"), 1)) from None
