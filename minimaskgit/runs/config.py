"""Every setting of a run in plain dataclasses, and the presets (lesson 9; paper section 4.1).

    Config ── images, classifier, tokenizer (+ training), transformer (+ training), decoding, gan, diffusion (rivals)
    PRESETS: demo (glyphs, on two CPU cores), glyphs (the same, trained far longer), demo-real, full (Tiny ImageNet, one
    GPU), paper (ImageNet-256)

Each field's comment is its help text on the command line.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.schedules import SCHEDULES

ScheduleName = Literal["cosine", "linear", "square", "cubic", "exponential", "square_root", "logarithmic", "bert"]


@dataclass(frozen=True)
class ImagesConfig:
    """Which images are read, and how."""

    size: int = 32  # side in pixels; others are resized and centre-cropped
    count: int | None = None  # at most so many training images; default all (glyphs: 20,000)
    classes: tuple[str, ...] = ()  # only these classes, by name, id or number; default all
    image_column: str = "image"  # the data set's column of images
    label_column: str = "label"  # the data set's column of class labels
    crop: int = 0  # pixels by which images are moved at random while training the tokenizer; their edges are mirrored
    flip: bool = False  # mirror images at random while training; right for photographs, wrong for glyphs


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose features are the perceptual loss."""

    width: int = 16  # channels of the first stage
    steps: int = 250  # training steps
    batch_size: int = 64  # images a step, over all processes
    learning_rate: float = 3e-3  # peak, AdamW


@dataclass(frozen=True)
class TokenizerConfig:
    """The shape of the VQ-GAN's generator; see minimaskgit.tokenizer.Tokenizer."""

    width: int = 128  # channels of the first level
    multipliers: tuple[int, ...] = (
        1,
    )  # channels of each level as multiples of width; each further level halves the side
    blocks: int = 1  # residual blocks a level
    patch: int = 4  # pixels a side folded into channels by the stem
    num_codes: int = 256  # codebook entries K
    code_dim: int = 16  # width of an entry
    beta: float = 0.25  # weight of the commitment loss
    l2_norm: bool = False  # look codes up by cosine similarity
    ema: bool = False  # move the entries by running means, not by gradient
    ema_decay: float = 0.99  # of those means, a batch
    revive_after: int = 100  # training batches after which an unused entry restarts; 0: never
    released_shortcut: bool = False  # the released code's shortcut, to match the published parameter count


@dataclass(frozen=True)
class TokenizerTraining:
    """How the VQ-GAN is trained."""

    steps: int = 1200  # training steps
    batch_size: int = 32  # images a step, over all processes
    learning_rate: float = 4e-3  # peak of the generator's, AdamW
    warmup: int = 50  # steps over which the learning rate rises; then it falls to zero along a cosine
    l1_weight: float = 1.0  # of the mean absolute pixel error
    l2_weight: float = 0.0  # of the mean squared pixel error
    perceptual_weight: float = 0.1  # of the perceptual loss; 0 trains no classifier for it
    gan_weight: float = 0.1  # of the adversarial loss, on top of its adaptive weight; 0: no discriminator
    gan_start: float = 0.8  # fraction of the steps after which the adversarial loss joins
    gan_learning_rate: float = 1e-3  # of the discriminator
    gan_width: int = 32  # channels of the discriminator's first layer
    gan_layers: int = 2  # further layers of the discriminator
    clip: float = 1.0  # largest norm of the generator's gradient


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of the masked and the causal transformer; see minimaskgit.transformer.Transformer."""

    width: int = 128  # D
    depth: int = 5  # blocks
    heads: int = 4  # attention heads
    mlp_width: int = 512  # hidden units of a block's MLP
    dropout: float = 0.0  # on embeddings, attention and both sublayers
    pre_norm: bool = True  # norm before each sublayer (trains faster); off: after, as released


@dataclass(frozen=True)
class TransformerTraining:
    """How either transformer is trained."""

    steps: int = 2200  # training steps
    batch_size: int = 32  # images a step, over all processes
    optimizer: Literal["muon", "adamw"] = "muon"  # for the blocks' matrices; everything else has AdamW
    learning_rate: float = 3e-3  # peak, AdamW
    muon_learning_rate: float = 3e-3  # peak, Muon
    betas: tuple[float, float] = (0.9, 0.96)  # AdamW's, the paper's
    weight_decay: float = 0.01  # on matrices
    warmup: int = 30  # steps over which the learning rate rises
    cooldown: float = 0.6  # last fraction of the steps, over which it falls linearly to zero
    schedule: ScheduleName = "cosine"  # mask schedule (masked model only)
    label_smoothing: float = 0.0  # the paper's is 0.1
    class_dropout: float = 0.0  # fraction of samples trained without their class, for guidance
    clip: float = 1.0  # largest norm of the gradient
    ema_decay: float = 0.0  # of the moving average of the weights, which is then the finished model; 0: none


@dataclass(frozen=True)
class GanConfig:
    """The shape of the rival GAN; see minimaskgit.rivals.gan."""

    latent: int = 64  # length of the noise vector z
    width: int = 32  # channels of the largest level
    multipliers: tuple[int, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: int = 2  # pixels a side of a place of the largest level


@dataclass(frozen=True)
class GanTraining:
    """How the rival GAN is trained."""

    steps: int = 4000  # training steps, one of each player
    batch_size: int = 32  # images a step
    learning_rate: float = 2e-3  # peak of the generator's, Adam
    d_learning_rate: float = 1e-3  # peak of the discriminator's, Adam
    penalty: float = 2.0  # weight of the discriminator's squared gradient at real pictures (R1's gamma)
    ema_decay: float = 0.995  # of the moving average of the generator's weights
    warmup: int = 50  # steps over which the learning rates rise
    cooldown: float = 0.4  # last fraction of the steps, over which they fall linearly to zero


@dataclass(frozen=True)
class DiffusionConfig:
    """The shape of the rival diffusion model's U-Net; see minimaskgit.rivals.diffusion."""

    width: int = 32  # channels of the largest level
    multipliers: tuple[int, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: int = 2  # pixels a side folded into channels
    attention_side: int = 8  # levels of this side or less have attention


@dataclass(frozen=True)
class DiffusionTraining:
    """How the rival diffusion model is trained."""

    steps: int = 5000  # training steps
    batch_size: int = 32  # images a step
    learning_rate: float = 2e-3  # peak, AdamW
    ema_decay: float = 0.995  # of the moving average of the weights
    warmup: int = 100  # steps over which the learning rate rises
    cooldown: float = 0.6  # last fraction of the steps, over which it falls linearly to zero
    class_dropout: float = 0.1  # fraction of samples trained without their class, for guidance
    clip: float = 1.0  # largest norm of the gradient


@dataclass(frozen=True)
class DecodingConfig:
    """How tokens are decoded, unless the command says otherwise."""

    steps: int = 8  # T
    schedule: ScheduleName = "cosine"  # mask schedule
    temperature: float = 4.5  # of the choice noise, annealed to zero
    guidance: float = 0.0  # classifier-free guidance weight; the paper has none


def decoding_arguments(settings: DecodingConfig) -> dict[str, Any]:
    """The settings as arguments of `decoding.decode_steps`: the schedule itself in place of its name."""
    return dataclasses.asdict(settings) | {"schedule": SCHEDULES[settings.schedule]}


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: str = "glyphs"  # 'glyphs', a hub id, a folder or glob of parquet files, or a folder of images
    seed: int = 0  # of everything random
    precision: AnyPrecision = "auto"  # of matrix products while training; auto: the fast one here
    report_every: int = 50  # steps between two lines of metrics
    picture_every: int = 500  # steps between two sample pictures
    save_every: int = 500  # steps between two checkpoints
    keep_checkpoints: int = 2  # how many of the newest are kept while a stage trains, beside the best
    compile: bool = False  # compile the transformers: a long first step, then faster ones
    recompute: bool = False  # compute the transformers' activations again for the backward pass: less memory, slower
    shard: bool = False  # split the transformers between the processes (FSDP): less memory each, more traffic
    # Parts in which each process takes its share of a batch; more where too little memory is free.
    accumulate: int = 1
    images: ImagesConfig = field(default_factory=ImagesConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    tokenizer_training: TokenizerTraining = field(default_factory=TokenizerTraining)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    transformer_training: TransformerTraining = field(default_factory=TransformerTraining)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    gan_training: GanTraining = field(default_factory=GanTraining)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    diffusion_training: DiffusionTraining = field(default_factory=DiffusionTraining)


def save_config(config: Any, path: Path) -> None:
    """Write a dataclass of settings as JSON."""
    write_json(path, dataclasses.asdict(config))


def load_config(path: Path) -> Config:
    """Read what `save_config` wrote; UserError if it is absent, broken or from another version."""
    try:
        return _from_dict(Config, json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} is no run folder: it has no {path.name}; train one with python -m minimaskgit.train"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as the settings of a run: {error}") from None


def first_difference(a: Any, b: Any, prefix: str = "") -> str | None:
    """Name and values of the first setting in which two configurations differ; None if they agree.

    "auto" agrees with whatever it was settled as.
    """
    for f in dataclasses.fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if dataclasses.is_dataclass(x):
            if found := first_difference(x, y, f"{prefix}{f.name}."):
                return found
        elif x != y and "auto" not in (x, y):
            return f"{prefix}{f.name} is {x!r} there and {y!r} here"
    return None


def _from_dict(kind: type, values: dict[str, Any]) -> Any:
    unknown = set(values) - {f.name for f in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(f"unknown setting {sorted(unknown)[0]!r}")
    arguments = {}
    for f in dataclasses.fields(kind):
        if f.name in values:
            value = values[f.name]
            if isinstance(value, dict) != dataclasses.is_dataclass(f.default_factory):
                raise ValueError(f"unexpected {f.name!r}: {value!r}")
            if isinstance(value, dict):
                value = _from_dict(f.default_factory, value)
            arguments[f.name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)
