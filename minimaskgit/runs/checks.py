"""Which settings are possible; anything else is reported in one line that names the option."""

import dataclasses
from typing import Any

from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import Config

# What numbers may be, by the setting's name; all others must be 0 or more.
POSITIVE = {
    *("size", "count", "width", "steps", "batch_size", "learning_rate", "muon_learning_rate", "gan_learning_rate"),
    *("d_learning_rate", "latent", "attention_side"),
    *("multipliers", "blocks", "patch", "num_codes", "code_dim", "gan_width", "gan_layers", "clip"),
    *("depth", "heads", "mlp_width", "report_every", "picture_every", "save_every"),
    *("keep_checkpoints", "accumulate"),
}

FRACTIONS = {"ema_decay", "gan_start", "dropout", "betas", "cooldown", "label_smoothing", "class_dropout"}


def check(config: Config) -> None:
    """UserError for a setting that cannot work."""
    _check_numbers(config)
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
            f"--tokenizer-training.gan-layers {gan.gan_layers} halve {image} pixels too often;"
            f" expected fewer, or --images.size {3 * 2**gan.gan_layers} or more"
        )
    if config.transformer.width % config.transformer.heads:
        raise UserError(
            f"--transformer.width {config.transformer.width} is not a multiple of"
            f" --transformer.heads {config.transformer.heads}"
        )


def _check_numbers(config: Any, prefix: str = "--") -> None:
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        option = (prefix + f.name).replace("_", "-")
        if dataclasses.is_dataclass(value):
            _check_numbers(value, f"{option}.")
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float):
                continue
            if f.name in POSITIVE and not number > 0:
                raise UserError(
                    f"{option} {number}: expected {'1 or more' if isinstance(number, int) else 'more than 0'}"
                )
            if f.name in FRACTIONS and not 0 <= number <= 1:
                raise UserError(f"{option} {number}: expected a fraction, from 0 to 1")
            if not number >= 0:
                raise UserError(f"{option} {number}: expected 0 or more")
