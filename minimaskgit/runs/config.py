"""Every setting of a run in plain dataclasses, saved as JSON (lesson 9; paper section 4.1).

    Config ── images, classifier, tokenizer (+ training), transformer (+ training), decoding, gan, diffusion (rivals)
    Config ──save_config──> RUN/config.json ──load_config──> Config

Each field's comment is its help text on the command line. presets.py has the presets, checks.py the valid values.
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
    """Which images to read, and how."""

    size: int = 32  # side in pixels; others are resized and centre-cropped
    count: int | None = None  # largest number of training images; default all (glyphs: 20,000)
    classes: tuple[str, ...] = ()  # only these classes, by name, id or number; default all
    image_column: str = "image"  # column with the images in the data set
    label_column: str = "label"  # column with the class labels in the data set
    crop: int = 0  # largest random shift in pixels while training the tokenizer; images are mirrored at their edges
    flip: bool = False  # mirror images at random while training; use it for photographs, not for glyphs


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose features define the perceptual loss."""

    width: int = 16  # channels of the first stage
    steps: int = 250  # training steps
    batch_size: int = 64  # images per step, over all processes
    learning_rate: float = 3e-3  # peak learning rate of AdamW


@dataclass(frozen=True)
class TokenizerConfig:
    """The shape of the VQ-GAN's generator; see minimaskgit.tokenizer.Tokenizer."""

    width: int = 128  # channels of the first level
    multipliers: tuple[int, ...] = (
        1,
    )  # channels of each level as multiples of width; each further level halves the side
    blocks: int = 1  # residual blocks per level
    patch: int = 4  # side in pixels of the patches that the stem folds into channels
    num_codes: int = 256  # codebook entries K
    code_dim: int = 16  # length of a codebook entry
    beta: float = 0.25  # weight of the commitment loss
    l2_norm: bool = False  # compare codes by cosine similarity
    ema: bool = False  # update codebook entries by running means instead of gradients
    ema_decay: float = 0.99  # decay of the running means per batch
    revive_after: int = 100  # training batches after which an unused entry is reset; 0: never
    released_shortcut: bool = False  # use the released code's shortcut, to match the published parameter count


@dataclass(frozen=True)
class TokenizerTraining:
    """How the VQ-GAN is trained."""

    steps: int = 1200  # training steps
    batch_size: int = 32  # images per step, over all processes
    learning_rate: float = 4e-3  # peak learning rate of the generator, with AdamW
    warmup: int = 50  # steps over which the learning rate rises; then it falls to zero along a cosine
    l1_weight: float = 1.0  # weight of the mean absolute pixel error
    l2_weight: float = 0.0  # weight of the mean squared pixel error
    perceptual_weight: float = 0.1  # weight of the perceptual loss; 0: train no classifier for it
    gan_weight: float = 0.1  # weight of the adversarial loss, times its adaptive weight; 0: no discriminator
    gan_start: float = 0.8  # fraction of the steps after which the adversarial loss starts
    gan_learning_rate: float = 1e-3  # learning rate of the discriminator
    gan_width: int = 32  # channels of the discriminator's first layer
    gan_layers: int = 2  # further layers of the discriminator
    clip: float = 1.0  # clip the generator's gradient to this norm


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of the masked and the causal transformer; see minimaskgit.transformer.Transformer."""

    width: int = 128  # width D of the embeddings
    depth: int = 5  # blocks
    heads: int = 4  # attention heads
    mlp_width: int = 512  # hidden units of each block's MLP
    dropout: float = 0.0  # dropout of embeddings, attention and both sublayers
    pre_norm: bool = True  # normalise before each sublayer (trains faster); off: after it, as in the released code


@dataclass(frozen=True)
class TransformerTraining:
    """How both transformers are trained."""

    steps: int = 2200  # training steps
    batch_size: int = 32  # images per step, over all processes
    optimizer: Literal["muon", "adamw"] = "muon"  # optimizer of the blocks' matrices; the rest uses AdamW
    learning_rate: float = 3e-3  # peak learning rate of AdamW
    muon_learning_rate: float = 3e-3  # peak learning rate of Muon
    betas: tuple[float, float] = (0.9, 0.96)  # betas of AdamW; the default is the paper's
    weight_decay: float = 0.01  # weight decay of the matrices
    warmup: int = 30  # steps over which the learning rate rises
    cooldown: float = 0.6  # last fraction of the steps, over which the learning rate falls linearly to zero
    schedule: ScheduleName = "cosine"  # mask schedule (masked model only)
    label_smoothing: float = 0.0  # label smoothing; 0.1 in the paper
    class_dropout: float = 0.0  # fraction of samples trained without their class, for guidance
    clip: float = 1.0  # clip the gradient to this norm
    ema_decay: float = 0.0  # decay of the weights' moving average, which becomes the finished model; 0: none


@dataclass(frozen=True)
class GanConfig:
    """The shape of the rival GAN; see minimaskgit.rivals.gan."""

    latent: int = 64  # length of the noise vector z
    width: int = 32  # channels of the largest level
    multipliers: tuple[int, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: int = 2  # side in pixels of a position of the largest level


@dataclass(frozen=True)
class GanTraining:
    """How the rival GAN is trained."""

    steps: int = 4000  # training steps; each updates both networks
    batch_size: int = 32  # images per step
    learning_rate: float = 2e-3  # peak learning rate of the generator, with Adam
    d_learning_rate: float = 1e-3  # peak learning rate of the discriminator, with Adam
    penalty: float = 2.0  # weight of the discriminator's squared gradient at real pictures (gamma in R1)
    ema_decay: float = 0.995  # decay of the moving average of the generator's weights
    warmup: int = 50  # steps over which the learning rates rise
    cooldown: float = 0.4  # last fraction of the steps, over which the learning rates fall linearly to zero


@dataclass(frozen=True)
class DiffusionConfig:
    """The shape of the rival diffusion model's U-Net; see minimaskgit.rivals.diffusion."""

    width: int = 32  # channels of the largest level
    multipliers: tuple[int, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: int = 2  # side in pixels of the patches that are folded into channels
    attention_side: int = 8  # levels with this side or less have attention


@dataclass(frozen=True)
class DiffusionTraining:
    """How the rival diffusion model is trained."""

    steps: int = 5000  # training steps
    batch_size: int = 32  # images per step
    learning_rate: float = 2e-3  # peak learning rate of AdamW
    ema_decay: float = 0.995  # decay of the moving average of the weights
    warmup: int = 100  # steps over which the learning rate rises
    cooldown: float = 0.6  # last fraction of the steps, over which the learning rate falls linearly to zero
    class_dropout: float = 0.1  # fraction of samples trained without their class, for guidance
    clip: float = 1.0  # clip the gradient to this norm


@dataclass(frozen=True)
class DecodingConfig:
    """How tokens are decoded, unless a command's options replace these settings."""

    steps: int = 8  # decoding steps T
    schedule: ScheduleName = "cosine"  # mask schedule
    temperature: float = 4.5  # temperature of the choice noise, annealed to zero
    guidance: float = 0.0  # classifier-free guidance weight; 0 in the paper


def decoding_arguments(settings: DecodingConfig) -> dict[str, Any]:
    """The settings as arguments of `decoding.decode_steps`, with the schedule's function in place of its name."""
    return dataclasses.asdict(settings) | {"schedule": SCHEDULES[settings.schedule]}


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: str = "glyphs"  # 'glyphs', a hub id, a folder or glob of parquet files, or a folder of images
    seed: int = 0  # seed of all random numbers
    precision: AnyPrecision = "auto"  # precision of matrix products in training; auto: the faster one on this machine
    report_every: int = 50  # steps between two lines of metrics
    picture_every: int = 500  # steps between two sample pictures
    save_every: int = 500  # steps between two checkpoints
    keep_checkpoints: int = 2  # number of newest checkpoints kept while a stage trains, in addition to the best
    compile: bool = False  # compile the transformers: slow first step, then faster ones
    recompute: bool = False  # recompute the transformers' activations for the backward pass: less memory, slower
    shard: bool = False  # split the transformers between processes (FSDP): less memory each, more communication
    # Parts into which each process splits its share of a batch; raised automatically if memory is short.
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
    """Read what `save_config` wrote; UserError if it is missing, broken or from another version."""
    try:
        return _from_dict(Config, json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} is not a run folder: it has no {path.name}; train one with python -m minimaskgit.train"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as the settings of a run: {error}") from None


def first_difference(a: Any, b: Any, prefix: str = "") -> str | None:
    """Name and values of the first setting in which two configurations differ; None if they agree.

    "auto" agrees with any value.
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
