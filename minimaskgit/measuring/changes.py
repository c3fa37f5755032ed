"""The recipe's variants: single changes of a preset's training settings, by stage and name."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import Config

BASE = "base"
# Settings that change what a step computes, but not how long that takes.
FREE = {
    "decoding.guidance",
    "images.crop",
    "images.flip",
    "transformer_training.schedule",
    "transformer_training.loss_mean",
    "transformer_training.label_smoothing",
    "transformer_training.class_dropout",
}
WEIGHT = "tokenizer_training.perceptual_weight"  # free too, unless it is 0, which leaves the loss out


def _in(part: str, **settings: Any) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in settings.items()}


_images = partial(_in, "images")
_transformer, _training = partial(_in, "transformer"), partial(_in, "transformer_training")
_codebook, _tokenizer_training = partial(_in, "tokenizer"), partial(_in, "tokenizer_training")

_BOTH = {  # of the masked transformer and its twin
    "depth-1": _transformer(depth=1),
    "depth-3": _transformer(depth=3),
    "depth-5": _transformer(depth=5),
    "class-dropout": _training(class_dropout=0.1),
    "no-class-dropout": {**_training(class_dropout=0.0), "decoding.guidance": 0.0},  # guidance needs it
    "label-smoothing": _training(label_smoothing=0.1),
    "no-ema": _training(ema_decay=0.0),
    "ema-99": _training(ema_decay=0.99),
    "ema-999": _training(ema_decay=0.999),
    "qk-norm": _transformer(qk_norm=True),
    "rope": _transformer(rope=True),
    "batch-16": _training(batch_size=16),
    "batch-64": _training(batch_size=64),
}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "tokenizer": {
        "patch-8": _codebook(patch=8),
        "codes-256": _codebook(num_codes=256),
        "codes-512": _codebook(num_codes=512),
        "codes-1024": _codebook(num_codes=1024),
        "adamw": _tokenizer_training(optimizer="adamw"),
        "rotation-trick": _codebook(rotate=True),
        "simvq": _codebook(linear=True),
        "entropy-loss": _codebook(entropy=0.1),
        "cosine-codes": _codebook(l2_norm=True),
        "ema-codes": _codebook(ema=True),
        "perceptual-0": _tokenizer_training(perceptual_weight=0.0),
        "perceptual-0.1": _tokenizer_training(perceptual_weight=0.1),
        "perceptual-1": _tokenizer_training(perceptual_weight=1.0),
        "adversary-off": _tokenizer_training(gan_weight=0.0),
        "adversary-half": _tokenizer_training(gan_start=0.5),
        "batch-16": _tokenizer_training(batch_size=16),
        "batch-64": _tokenizer_training(batch_size=64),
        "no-crop": _images(crop=0),
        "no-flip": _images(flip=False),
    },
    "transformer": {
        **{f"mask-{name}": _training(schedule=name) for name in ("cosine", "arccos", "beta", "exponential", "square")},
        "mean-of-images": _training(loss_mean="images"),
        "count-masks": _transformer(count_masks=True),
        **_BOTH,
    },
    "autoregressive": _BOTH,
}


def is_free(config: Config, changes: Mapping[str, Any]) -> bool:
    """Whether a training step with the changes surely takes as long as without them."""
    weighed = config.tokenizer_training.perceptual_weight and changes.get(WEIGHT)
    return all(name in FREE or (name == WEIGHT and weighed) for name in changes)


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The settings with those replaced that `changes` names, such as transformer.rope."""
    for name, value in changes.items():
        part, _, field = name.partition(".")
        config = replace(config, **{part: replace(getattr(config, part), **{field: value})})
    return config


def differing(config: Config, names: tuple[str, ...]) -> dict[str, dict[str, dict[str, Any]]]:
    """The variants called `names` (STAGE/NAME or NAME; () means all) by stage, without those that are the base's own.

    UserError for a name that does not exist.
    """
    known = {f"{stage}/{name}" for stage, variants in VARIANTS.items() for name in variants}
    for name in names:
        if name not in known and not any(name == each.partition("/")[2] for each in known):
            raise UserError(
                f"--variants {name}: expected one or more of {', '.join(sorted(known))}, without the stage too"
            )
    return {
        stage: {
            name: changes
            for name, changes in variants.items()
            if (not names or name in names or f"{stage}/{name}" in names)
            and asdict(changed(config, changes)) != asdict(config)
        }
        for stage, variants in VARIANTS.items()
    }
