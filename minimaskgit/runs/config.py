"""Every setting of a run in plain dataclasses, saved as JSON (lesson 9; paper section 4.1).

    Config ── images, classifier, tokenizer (+ training), transformer (+ training), decoding, critic training,
           gan, diffusion (rivals)
    Config ──save_config──> RUN/config.json ──load_config──> Config

Each field's comment is its help text on the command line. presets.py has the presets, checks.py the valid values.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.decoders.counts import Rounding
from minimaskgit.decoders.named import DecoderName
from minimaskgit.transformer import Gelu

ScheduleName = Literal["cosine", "linear", "square", "cubic", "exponential", "square_root", "logarithmic", "bert"]
RatioName = Literal[ScheduleName, "arccos", "beta"]  # the last two only in training


# Numbers with their limits, which `check` and `load_config` enforce and --help prints.
Positive = Annotated[int, Field(ge=1), tyro.conf.arg(metavar="INT>=1")]
Several = Annotated[int, Field(ge=2), tyro.conf.arg(metavar="INT>=2")]
Count = Annotated[int, Field(ge=0), tyro.conf.arg(metavar="INT>=0")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), tyro.conf.arg(metavar="FLOAT>0")]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False), tyro.conf.arg(metavar="FLOAT>=0")]
Fraction = Annotated[float, Field(ge=0, le=1), tyro.conf.arg(metavar="0.0..1.0")]
Decay = Annotated[float, Field(ge=0, lt=1), tyro.conf.arg(metavar="0<=FLOAT<1")]
Share = Annotated[float, Field(gt=0, le=1), tyro.conf.arg(metavar="0<FLOAT<=1")]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1), tyro.conf.arg(metavar="0..2^63-1")]  # what torch and numpy both take
# More than that can overflow the logits.
Strength = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False), tyro.conf.arg(metavar="0.0..10000.0")]


def between(low: int, high: int) -> type:
    """The type of whole numbers from `low` to `high`."""
    return Annotated[int, Field(ge=low, le=high), tyro.conf.arg(metavar=f"{low}..{high}")]


Batch = between(1, 1000)  # images generated at once: each takes memory for its keys and values
Samples = between(2, 100_000)  # images kept in memory, with their features


class Settings:
    """Base of all settings: types are checked, and unknown names refused."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class ImagesConfig(Settings):
    """Which images to read, and how."""

    size: Positive = 32  # side of the images in pixels; images of other sizes are resized and centre-cropped
    count: Positive | None = None  # largest number of training images (default: all; glyphs: 20,000)
    classes: tuple[str, ...] = ()  # only these classes, by name, id or number (default: all)
    image_column: str = "image"  # column with the images in the data set
    label_column: str = "label"  # column with the class labels in the data set
    crop: Count = 0  # largest random shift in pixels while training tokenizer and classifiers; edges are mirrored
    flip: bool = False  # mirror images at random while training; use it for photographs, not for glyphs


@dataclass(frozen=True)
class ClassifierConfig(Settings):
    """The small classifier whose features define the perceptual loss."""

    width: Positive = 16  # channels of the first stage
    steps: Positive = 250  # training steps
    batch_size: Positive = 64  # images per step, over all processes
    learning_rate: Rate = 3e-3  # peak learning rate of AdamW


@dataclass(frozen=True)
class TokenizerConfig(Settings):
    """The shape of the VQ-GAN's generator; see minimaskgit.tokenizer.Tokenizer."""

    width: Positive = 128  # channels of the first level
    # channels of each level as multiples of width; each further level halves the side
    multipliers: tuple[Positive, ...] = (1,)
    blocks: Positive = 1  # residual blocks per level
    patch: Positive = 4  # side in pixels of the patches that the stem folds into channels
    num_codes: Several = 256  # codebook entries K
    code_dim: Positive = 16  # length of a codebook entry
    beta: Weight = 0.25  # weight of the commitment loss
    l2_norm: bool = False  # compare codes by cosine similarity
    ema: bool = False  # update codebook entries by running means instead of gradients
    ema_decay: Decay = 0.99  # decay of the running means per batch
    revive_after: Count = 100  # training batches after which an unused entry is reset; 0: never (nor with linear)
    rotate: bool = False  # give the encoder its gradient by the rotation trick
    linear: bool = False  # make the codebook a learned linear map of frozen random vectors (SimVQ)
    entropy: Weight = 0.0  # weight of the entropy loss, which asks for sure choices and an evenly used codebook
    released_shortcut: bool = False  # use the released code's shortcut, to match the published parameter count


@dataclass(frozen=True)
class TokenizerTraining(Settings):
    """How the VQ-GAN is trained."""

    steps: Count = 1200  # training steps; 0 with --init-from: keep that tokenizer as it is
    batch_size: Positive = 32  # images per step, over all processes
    optimizer: Literal["muon", "adamw"] = "adamw"  # optimizer of the convolutions' kernels; the rest uses AdamW
    learning_rate: Rate = 4e-3  # peak learning rate of AdamW
    muon_learning_rate: Rate = 4e-3  # peak learning rate of Muon
    warmup: Count = 50  # steps over which the learning rate rises; then it falls to zero along a cosine
    l1_weight: Weight = 1.0  # weight of the mean absolute pixel error
    l2_weight: Weight = 0.0  # weight of the mean squared pixel error
    perceptual_weight: Weight = 0.1  # weight of the perceptual loss; 0: train no classifier for it
    gan_weight: Weight = 0.1  # weight of the adversarial loss, times its adaptive weight; 0: no discriminator
    gan_start: Fraction = 0.8  # fraction of the steps after which the adversarial loss starts
    gan_learning_rate: Rate = 1e-3  # peak learning rate of the discriminator; it falls with the tokenizer's
    gan_width: Positive = 32  # channels of the discriminator's first layer
    gan_layers: Positive = 2  # further layers of the discriminator
    clip: Rate = 1.0  # clip the generator's gradient to this norm


@dataclass(frozen=True)
class TransformerConfig(Settings):
    """The shape of the masked and the causal transformer; see minimaskgit.transformer.Transformer."""

    width: Positive = 128  # width D of the embeddings
    depth: Positive = 2  # blocks
    heads: Positive = 4  # attention heads
    mlp_width: Positive = 512  # hidden units of each block's MLP
    dropout: Fraction = 0.0  # dropout of embeddings, attention and both sublayers
    pre_norm: bool = True  # normalise before each sublayer (trains faster); off: after it, as in the released code
    qk_norm: bool = False  # normalise queries and keys before attention
    rope: bool = False  # turn queries and keys by their row and column (2-D RoPE)
    count_masks: bool = False  # tell the masked model how many tokens are masked
    norm_eps: Rate = 1e-6  # added to the variance in every LayerNorm; 1e-12 in the released code
    gelu: Gelu = "erf"  # the GELU itself, or its approximation by tanh, as in the released code


@dataclass(frozen=True)
class TransformerTraining(Settings):
    """How both transformers are trained."""

    steps: Positive = 5600  # training steps
    batch_size: Positive = 32  # images per step, over all processes
    optimizer: Literal["muon", "adamw"] = "muon"  # optimizer of the blocks' matrices; the rest uses AdamW
    learning_rate: Rate = 3e-3  # peak learning rate of AdamW
    muon_learning_rate: Rate = 3e-3  # peak learning rate of Muon
    betas: tuple[Decay, Decay] = (0.9, 0.96)  # betas of AdamW; 0.9 0.96 in the paper
    weight_decay: Weight = 0.01  # weight decay of the matrices
    warmup: Count = 30  # steps over which the learning rate rises
    cooldown: Fraction = 0.6  # last fraction of the steps, over which the learning rate falls linearly to zero
    schedule: RatioName = "cosine"  # mask schedule of the masked model: how much of each image to mask
    loss_mean: Literal["tokens", "images"] = "tokens"  # mean over masked tokens, or first within each image
    label_smoothing: Fraction = 0.0  # label smoothing; 0.1 in the paper
    class_dropout: Fraction = 0.0  # fraction of samples trained without their class, for guidance
    clip: Rate = 1.0  # clip the gradient to this norm
    ema_decay: Decay = 0.0  # decay of the weights' moving average, which becomes the finished model; 0: none


@dataclass(frozen=True)
class CriticTraining(Settings):
    """How the critic of the masked transformer is trained; see minimaskgit.decoders.critic."""

    steps: Positive = 1000  # training steps
    batch_size: Positive = 32  # images per step
    learning_rate: Rate = 1e-3  # peak learning rate of AdamW
    random_codes: Fraction = 0.05  # fraction of tokens that random codes replace, besides the model's samples


@dataclass(frozen=True)
class GanConfig(Settings):
    """The shape of the rival GAN; see minimaskgit.rivals.gan."""

    latent: Positive = 64  # length of the noise vector z
    width: Several = 32  # channels of the largest level
    multipliers: tuple[Positive, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: Positive = 2  # side in pixels of a position of the largest level


@dataclass(frozen=True)
class GanTraining(Settings):
    """How the rival GAN is trained."""

    steps: Positive = 3600  # training steps; each updates both networks
    batch_size: Positive = 32  # images per step
    learning_rate: Rate = 2e-3  # peak learning rate of the generator, with Adam
    d_learning_rate: Rate = 1e-3  # peak learning rate of the discriminator, with Adam
    penalty: Weight = 2.0  # weight gamma of R1, on the discriminator's squared gradient at real pictures
    ema_decay: Decay = 0.995  # decay of the moving average of the generator's weights
    warmup: Count = 50  # steps over which the learning rates rise
    cooldown: Fraction = 0.4  # last fraction of the steps, over which the learning rates fall linearly to zero


@dataclass(frozen=True)
class DiffusionConfig(Settings):
    """The shape of the rival diffusion model's U-Net; see minimaskgit.rivals.diffusion."""

    width: Positive = 32  # channels of the largest level
    multipliers: tuple[Positive, ...] = (1, 2, 4)  # channels of each level as multiples of width, largest level first
    patch: Positive = 2  # side in pixels of the patches that are folded into channels
    attention_side: Positive = 8  # levels with this side or less have attention


@dataclass(frozen=True)
class DiffusionTraining(Settings):
    """How the rival diffusion model is trained."""

    steps: Positive = 4200  # training steps
    batch_size: Positive = 32  # images per step
    learning_rate: Rate = 2e-3  # peak learning rate of AdamW
    ema_decay: Decay = 0.995  # decay of the moving average of the weights
    warmup: Count = 100  # steps over which the learning rate rises
    cooldown: Fraction = 0.6  # last fraction of the steps, over which the learning rate falls linearly to zero
    class_dropout: Fraction = 0.1  # fraction of samples trained without their class, for guidance
    clip: Rate = 1.0  # clip the gradient to this norm


@dataclass(frozen=True)
class DecodingConfig(Settings):
    """How tokens are decoded, unless a command's options replace these settings."""

    steps: Positive = 8  # decoding steps T
    schedule: ScheduleName = "cosine"  # mask schedule
    temperature: Strength = 4.5  # temperature of the choice noise, annealed to zero
    guidance: Strength = 0.0  # classifier-free guidance weight; 0 in the paper (needs class dropout in training)
    decoder: DecoderName = "maskgit"  # how to decode; maskgit is the paper's way
    sampling_temperature: Rate = 1.0  # temperature of the distributions that tokens are drawn from
    top_p: Share = 1.0  # draw only from the likeliest codes whose probabilities add up to this
    guidance_start: Fraction = 0.0  # progress, 0 to 1, after which guidance begins
    rounding: Rounding = "exact"  # how many tokens to mask: computed exactly, or in float32 as in the released code


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: str = "glyphs"  # 'glyphs', a hub id, a folder or glob of parquet files, or a folder of images
    # The run whose weights this one starts from, or pretrained ones: an option of train alone.
    init_from: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    seed: Seed = 0  # seed of all random numbers
    precision: AnyPrecision = "auto"  # precision of matrix products in training; auto: the faster one on this machine
    report_every: Positive = 50  # steps between two lines of metrics
    picture_every: Positive = 500  # steps between two sample pictures
    # samples drawn with each sample picture to report a rough FD, but no more than --max-steps; 0: none
    fd_samples: Count = 0
    save_every: Positive = 500  # steps between two checkpoints
    keep_checkpoints: Positive = 2  # number of newest checkpoints kept while a stage trains
    compile: bool = False  # compile the transformers: slow first step, then faster ones
    recompute: bool = False  # recompute the transformers' activations for the backward pass: less memory, slower
    shard: bool = False  # split the transformers between processes (FSDP): less memory each, more communication
    accumulate: Positive = 1  # parts of each process's share of a batch; raised automatically if memory is short
    images: ImagesConfig = field(default_factory=ImagesConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    tokenizer_training: TokenizerTraining = field(default_factory=TokenizerTraining)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    transformer_training: TransformerTraining = field(default_factory=TransformerTraining)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    critic_training: CriticTraining = field(default_factory=CriticTraining)
    gan: GanConfig = field(default_factory=GanConfig)
    gan_training: GanTraining = field(default_factory=GanTraining)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    diffusion_training: DiffusionTraining = field(default_factory=DiffusionTraining)


@functools.cache
def adapter() -> TypeAdapter:
    """What checks settings and reads them from JSON; it takes a while to build."""
    return TypeAdapter(Config)


def save_config(config: Any, path: Path) -> None:
    """Write a dataclass of settings as JSON."""
    write_json(path, dataclasses.asdict(config))


def load_config(path: Path) -> Config:
    """Read what `save_config` wrote; UserError if it is absent, broken or from another version."""
    try:
        return adapter().validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} is not a run folder: it has no {path.name}; train one with python -m minimaskgit.train"
        ) from None
    except (ValueError, OSError) as error:
        reason = problem(error)[1] if isinstance(error, ValidationError) else error
        raise UserError(f"{path} cannot be read as the settings of a run: {reason}") from None


def saved_as(saved: dict, config: Config) -> bool:
    """Whether JSON values are these settings; one that they lack, because it is newer, has its default."""
    try:
        return adapter().validate_json(json.dumps(saved)) == config
    except ValidationError:
        return False


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


# What pydantic calls a problem, and how we put it; {} is the limit.
EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
}


def problem(error: ValidationError) -> tuple[tuple[str, ...], str]:
    """The first invalid setting's path, and a line that names it, its value and what was expected."""
    first = error.errors()[0]
    path = tuple(part for part in first["loc"] if isinstance(part, str))
    name, kind = ".".join(path), first["type"]
    if kind == "unexpected_keyword_argument":
        return path, f"unknown setting {name!r}"
    if kind in EXPECTED:
        limits = {key: int(value) if value == int(value) else value for key, value in first.get("ctx", {}).items()}
        return path, f"{name} {first['input']}: expected {EXPECTED[kind].format(**limits)}"
    return path, f"{name + ': ' if name else ''}{first['msg']}"
