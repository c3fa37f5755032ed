"""The presets, one function each, and which one a command line starts from (lesson 9; paper section 4.1).

demo, glyphs (drawn pictures) · demo-real, photos, tiny-imagenet, full (Tiny ImageNet) · paper, official (ImageNet)
--preset or --init-from, --out, --resume ──starting_point──> preset's name, run folder, settings
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from minimaskgit.common.errors import UserError
from minimaskgit.runs.checks import home
from minimaskgit.runs.config import (
    ClassifierConfig,
    Config,
    DecodingConfig,
    ImagesConfig,
    TokenizerConfig,
    TokenizerTraining,
    TransformerConfig,
    TransformerTraining,
    load_config,
)
from minimaskgit.runs.run import run_or_pretrained


def demo() -> Config:
    """Glyphs on two CPU cores; `make demo` prints how long that takes on your machine."""
    return Config(
        images=ImagesConfig(count=30_000),
        tokenizer_training=TokenizerTraining(optimizer="muon", perceptual_weight=1.0),
        # Keeps fewer tokens early than the cosine: the first tokens place the glyph, and few are less likely to clash.
        decoding=DecodingConfig(schedule="square", temperature=2.0),
    )


def glyphs() -> Config:
    """The demo, trained for some hours on two CPU cores; made the weights in data/pretrained/glyphs."""
    config = demo()
    return replace(
        config,
        images=ImagesConfig(count=100_000),
        tokenizer_training=replace(config.tokenizer_training, steps=4000),
        transformer=replace(config.transformer, depth=5),
        # Without their class, some samples train what guidance needs.
        transformer_training=replace(config.transformer_training, steps=14_000, ema_decay=0.999, class_dropout=0.1),
        decoding=replace(config.decoding, temperature=3.0),
        report_every=200,
        picture_every=4000,
        save_every=250,
    )


def demo_real() -> Config:
    """A few classes of Tiny ImageNet, small: to send real photographs through every stage, not for quality."""
    config = demo()
    return replace(
        config,
        data="zh-plus/tiny-imagenet",
        images=ImagesConfig(
            size=64,
            count=3000,
            # goldfish, monarch, school bus, pizza, banana, lakeside; the copy on the hub uses these ids as class names
            classes=("n01443537", "n02279972", "n04146614", "n07873807", "n07753592", "n09332890"),
            flip=True,
        ),
        tokenizer=replace(config.tokenizer, patch=8, num_codes=512),
        tokenizer_training=replace(config.tokenizer_training, steps=1000),
        transformer_training=replace(config.transformer_training, steps=600),
        report_every=25,
        picture_every=250,
    )


def photos() -> Config:
    """Twelve classes of Tiny ImageNet that a person tells apart at a glance: hours on two CPU cores (`make photos`)."""
    config = demo_real()
    return replace(
        config,
        images=ImagesConfig(
            size=64,
            # goldfish, monarch, school bus, pizza, jellyfish, pomegranate, seashore, lion, espresso, lighthouse,
            # cauliflower, brain coral
            classes=(
                "n01443537", "n02279972", "n04146614", "n07873807", "n01910747", "n07768694",
                "n09428293", "n02129165", "n07920052", "n02814860", "n07715103", "n01917289",
            ),
            crop=2,
            flip=True,
        ),
        classifier=replace(config.classifier, width=32, steps=600),
        tokenizer=replace(config.tokenizer, patch=4, blocks=2, num_codes=1024, l2_norm=True),
        tokenizer_training=replace(config.tokenizer_training, steps=3000),
        transformer=replace(config.transformer, width=192, depth=6, heads=6, mlp_width=768),
        transformer_training=replace(
            config.transformer_training, steps=2500, ema_decay=0.999, class_dropout=0.1, weight_decay=0.05
        ),
        # Without guidance, which makes these twelve classes so typical that the FD rises (seen on training images).
        decoding=replace(tiny_imagenet().decoding, guidance=0.0),
        report_every=50, picture_every=1000, fd_samples=240, save_every=250,
    )  # fmt: skip


def full() -> Config:
    """Tiny ImageNet at 64 x 64, as 16 x 16 tokens with 1024 codes, for one modern GPU."""
    return Config(
        data="zh-plus/tiny-imagenet",
        images=ImagesConfig(size=64, crop=4, flip=True),
        classifier=ClassifierConfig(width=64, steps=4000, batch_size=256, learning_rate=2e-3),
        tokenizer=TokenizerConfig(
            width=128, multipliers=(1, 2, 2), blocks=2, patch=1, num_codes=1024, code_dim=32, l2_norm=True
        ),
        tokenizer_training=TokenizerTraining(
            steps=20_000, batch_size=128, learning_rate=4e-4, warmup=500, gan_start=0.4, gan_learning_rate=2e-4,
            gan_width=64, gan_layers=3,
        ),
        transformer=TransformerConfig(width=512, depth=12, heads=8, mlp_width=2048, dropout=0.1, pre_norm=True),
        transformer_training=TransformerTraining(
            steps=40_000, batch_size=256, learning_rate=1e-3, muon_learning_rate=1e-2, warmup=1000,
            label_smoothing=0.1, class_dropout=0.1, cooldown=0.4, ema_decay=0.999,
        ),
        decoding=DecodingConfig(steps=12),
        report_every=100, picture_every=2000, fd_samples=2000, save_every=2000,
    )  # fmt: skip


def tiny_imagenet() -> Config:
    """A small `full` for minutes on one GPU (`make full`), which made data/pretrained/photos."""
    config = full()
    return replace(
        config,
        compile=True,
        classifier=replace(config.classifier, width=48, steps=1500),
        tokenizer=replace(config.tokenizer, width=64, multipliers=(1, 2), patch=2),
        tokenizer_training=replace(
            config.tokenizer_training, steps=2400, batch_size=256, optimizer="muon", learning_rate=4e-3, warmup=200,
            gan_start=0.6, perceptual_weight=0.5,
        ),
        transformer=replace(config.transformer, width=192, depth=7, heads=6, mlp_width=768, dropout=0.0),
        transformer_training=replace(
            config.transformer_training, steps=9000, learning_rate=2e-3, muon_learning_rate=5e-3, label_smoothing=0.0,
            warmup=500,
        ),
        # With less noise in the choice, the surest tokens come first, and the pictures come out plain.
        decoding=DecodingConfig(steps=12, temperature=20.0, guidance=0.5),
    )  # fmt: skip


def paper() -> Config:
    """ImageNet at 256 x 256 as published: 24 layers, 768 wide, f = 16, 1024 codes, 300 epochs; needs many GPUs."""
    epoch = 1_281_167 // 256
    return Config(
        data="imagenet-1k",
        images=ImagesConfig(size=256, flip=True),
        classifier=ClassifierConfig(width=64, steps=100_000, batch_size=256, learning_rate=1e-3),
        tokenizer=TokenizerConfig(
            width=128, multipliers=(1, 1, 2, 2, 4), blocks=2, patch=1, num_codes=1024, code_dim=256,
            released_shortcut=True,
        ),
        tokenizer_training=TokenizerTraining(
            steps=300 * epoch, batch_size=256, learning_rate=1e-4, warmup=5000, gan_start=0.1,
            gan_learning_rate=1e-4, gan_width=64, gan_layers=3,
        ),
        transformer=TransformerConfig(
            width=768, depth=24, heads=8, mlp_width=3072, dropout=0.1, pre_norm=False
        ),
        transformer_training=TransformerTraining(
            steps=300 * epoch, batch_size=256, optimizer="adamw", learning_rate=1e-4, weight_decay=0.045,
            warmup=5000, cooldown=0.0, label_smoothing=0.1,
        ),
        report_every=100, picture_every=5000, save_every=5000,
    )  # fmt: skip


def official() -> Config:
    """The paper's model as the authors' released code and weights have it; training/README.md lists what differs."""
    config = paper()
    return replace(
        config,
        transformer=replace(config.transformer, heads=16, norm_eps=1e-12, gelu="tanh"),
        decoding=replace(config.decoding, steps=16, rounding="released"),
    )


PRESETS = {
    "demo": demo,
    "glyphs": glyphs,
    "demo-real": demo_real,
    "photos": photos,
    "tiny-imagenet": tiny_imagenet,
    "full": full,
    "paper": paper,
    "official": official,
}
PresetName = Literal[tuple(PRESETS)]


def like(name: str) -> Config:
    """The settings of a run or of pretrained weights, for other images, with its tokenizer kept as it is."""
    there = load_config(run_or_pretrained(name) / "config.json")
    return replace(
        there,
        init_from=name,
        precision="auto",
        compile=False,
        accumulate=1,
        report_every=Config.report_every,
        picture_every=Config.picture_every,
        fd_samples=Config.fd_samples,
        save_every=Config.save_every,
        images=ImagesConfig(there.images.size, crop=there.images.crop, flip=there.images.flip),
        tokenizer_training=replace(there.tokenizer_training, steps=0),
        # Trained weights need no long warm-up, which could take all of a few steps.
        transformer_training=replace(there.transformer_training, warmup=min(there.transformer_training.warmup, 50)),
    )


def starting_point(argv: Sequence[str] | None) -> tuple[str, Path, Config]:
    """Read preset, run folder and default settings from the command line, before other options get their defaults.

    With --resume the settings are those of the run in the folder; with --init-from, like those of that run. By default
    a probe, which is a run of --max-steps, has a separate folder, so that the whole run can follow.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--preset", choices=tuple(PRESETS))
    early.add_argument("--full", dest="preset", action="store_const", const="full")
    early.add_argument("--init-from", "--init_from")
    early.add_argument("--out", type=home)
    early.add_argument("--resume", action="store_true")
    early.add_argument("--max-steps", "--max_steps")
    try:
        known, _ = early.parse_known_args(argv)
    except argparse.ArgumentError:  # which cli.parse will report
        known = early.parse_args([])
    preset, source = known.preset or "demo", known.init_from
    if known.preset and source is not None:
        raise UserError(f"--preset {preset} and --init-from {source}: both are settings to start from; expected one")
    name = preset if source is None else f"from-{Path(source).name}"
    out = known.out or default_folder(name, known.max_steps, known.resume)
    saved = out / "config.json"
    if known.resume and saved.exists():
        return preset, out, load_config(saved)
    return preset, out, PRESETS[preset]() if source is None else like(source)


def default_folder(name: str, max_steps: str | None, resume: bool) -> Path:
    """runs/NAME, or runs/NAME-N-steps for a probe; --resume with --max-steps resumes the probe if there is one."""
    whole = Path("runs") / name
    if max_steps is None:
        return whole
    probe = whole.with_name(f"{name}-{max_steps}-steps")
    return whole if resume and not (probe / "config.json").exists() else probe
