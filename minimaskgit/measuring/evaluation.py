"""Measure a trained run: `python -m minimaskgit.evaluate --run runs/demo --json quality.json` (lesson 8; section 4.1).

    held-out real images ─┬─> reference ────────────┐
                          └─> second sample ──────> network ──> metrics: what real images score, the best to hope for
    generated images, the classes in turn ────────> network ──> metrics: what the model scores

The network is the judge, the package's own classifier of this data, trained on real images; so a "FD" here is a
Frechet distance in that classifier's features and not comparable with a published FID. `--features inception` takes
the network of the published ones. Everything is measured twice, on generated and on equally many real images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import machine
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.measuring.networks import cached_reference, feature_names, inception_network, judge_network, look
from minimaskgit.measuring.pictures import held_out, sample, training_pictures
from minimaskgit.measuring.samplers import (
    DIFFUSION_STEPS,
    Sampler,
    autoregressive_sampler,
    diffusion_sampler,
    gan_sampler,
    maskgit_sampler,
)
from minimaskgit.measuring.scores import (
    FEATURE_METRICS,
    NEIGHBOURS,
    classification_accuracy_score,
    fd,
    feature_scores,
    picture_scores,
    tokenizer_scores,
)
from minimaskgit.runs.choices import choose_labels, decoding_settings
from minimaskgit.runs.config import ScheduleName
from minimaskgit.runs.run import Run
from minimaskgit.training.judge import load_judge

METRICS = (*FEATURE_METRICS, "cas", "class", "palette", "tokenizer")

# Key in the JSON file: what the table calls it, and whether more of it is better.
NAMES = {
    "fd": ("Frechet distance (FD)", False),
    "is": ("inception score (IS)", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "cas": ("classification accuracy score (CAS)", True),
    "class_accuracy": ("of the asked class", True),
    "palette_accuracy": ("of one palette", True),
    "reconstruction_fd": ("tokenizer: FD of reconstructions", False),
    "psnr": ("tokenizer: PSNR, dB", True),
    "ssim": ("tokenizer: SSIM", True),
    "code_usage": ("tokenizer: fraction of codes used", True),
    "code_perplexity": ("tokenizer: perplexity of the codes", True),
}


@dataclass(frozen=True)
class Options:
    """What to measure; decoding settings left out are those of the run's configuration."""

    run: Path | None = None  # run folder, as made by python -m minimaskgit.train
    pretrained: str | None = None  # in place of --run: name of packaged weights; results go to runs/pretrained/NAME
    metrics: tuple[str, ...] = ()  # fd is precision-recall density-coverage cas class palette tokenizer; default all
    samples: int = 2000  # generated images, the classes in turn
    reference: int = 10_000  # held-out real images they are compared with, at most half of those there are
    decoder: Literal["maskgit", "autoregressive", "gan", "diffusion"] = "maskgit"  # who generates
    features: Literal["classifier", "inception"] = "classifier"  # the network of FD, IS, precision, recall, ...
    k: int | None = None  # neighbours; default as published: 3 in precision and recall, 5 in density and coverage
    steps: int | None = None  # MaskGIT's decoding steps T, or those of diffusion
    schedule: ScheduleName | None = None  # MaskGIT's mask schedule
    temperature: float | None = None  # of MaskGIT's choice noise at the first step
    guidance: float | None = None  # MaskGIT's classifier-free guidance weight
    seed: int = 0  # of the generated images, and of the classifier that CAS trains
    json: Path | None = None  # file to write; default RUN/evaluation/DECODER.json
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # of matrix products; auto: the one that is fast here


def evaluate(run: Run, options: Options) -> dict:
    """All that was asked for; gives what is written to the JSON file."""
    metrics = check_options(run, options)
    generates, compares = set(metrics) != {"tokenizer"}, bool({*FEATURE_METRICS, "tokenizer"} & set(metrics))
    sampler = make_sampler(run, options) if generates else None
    reference, second = held_out(run, options.reference, options.samples)
    check_neighbours(metrics, options.k, min(options.samples, len(reference.labels), len(second.labels)))
    own = options.features == "classifier"
    judge = load_judge(run) if "class" in metrics or (compares and own) else None
    network = (judge_network(judge) if own else inception_network(run.device)) if compares else None

    found, expected = {}, {}  # scores of what the run made, and of as many real images
    if compares:
        target, real = cached_reference(run, network, options.features, reference), look(run, network, second.images)
        expected |= feature_scores(metrics, real, target, options.k)
    if generates:
        generated = sample(run, sampler.draw, choose_labels(run, None, options.samples), options.seed)
        if set(FEATURE_METRICS) & set(metrics):
            found |= feature_scores(metrics, look(run, network, generated.images), target, options.k)
        for scores, pictures in ((found, generated), (expected, second)):
            scores |= picture_scores(run, metrics, judge, pictures)
    if "cas" in metrics:
        for scores, pictures in ((found, generated), (expected, training_pictures(run, options.samples))):
            scores["cas"] = classification_accuracy_score(run, pictures, second, options.seed)
    if "tokenizer" in metrics:
        found |= tokenizer_scores(run, network, target, second)
        expected["reconstruction_fd"] = fd(real, target)
    return {
        "run": str(run.folder),
        "decoder": options.decoder if generates else None,
        "decoding": sampler.settings if generates else None,
        "samples": options.samples if generates else 0,
        "samples_per_class": options.samples / len(run.label_names) if generates else 0,
        "seed": options.seed,
        "real": {"data": run.config.data, "reference": len(reference.labels), "second": len(second.labels)},
        "features": feature_names(run, options.features),
        "neighbours": {name: options.k or k for name, k in NEIGHBOURS.items() if name in metrics},
        "metrics": {name: {"value": found[name], "real": expected.get(name)} for name in NAMES if name in found},
        "notes": notes(run, options, metrics, len(second.labels), real.features.shape[1] if compares else 0),
        "machine": machine(run.device),
    }


# --- Checks ---


def check_options(run: Run, options: Options) -> tuple[str, ...]:
    """The metrics to measure; UserError for what cannot be measured."""
    glyphs, least = run.config.data == "glyphs", 2 * len(run.label_names)
    metrics = tuple(dict.fromkeys(options.metrics)) or tuple(m for m in METRICS if glyphs or m != "palette")
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"--metrics {name}: expected some of {', '.join(METRICS)}")
    if "palette" in metrics and not glyphs:
        raise UserError(f"--metrics palette: {run.folder} is a run on {run.config.data}; only glyphs have palettes")
    if options.samples < least:
        raise UserError(f"--samples {options.samples}: expected {least} or more, two for each of {least // 2} classes")
    if options.reference < 2:
        raise UserError(f"--reference {options.reference}: expected 2 or more")
    return metrics


def check_neighbours(metrics: Sequence[str], k: int | None, count: int) -> None:
    """UserError unless each of `count` images has the k neighbours that the metrics ask for."""
    for name, published in NEIGHBOURS.items():
        wanted = published if k is None else k
        if name in metrics and not 1 <= wanted < count:
            raise UserError(
                f"--metrics {name}: {wanted} neighbours of {count} images; expected 1 to {count - 1}:"
                " a smaller --k, or more --samples and --reference"
            )


def make_sampler(run: Run, options: Options) -> Sampler:
    """The one asked for; UserError if it is not trained, or for settings that it does not have."""
    if options.decoder == "maskgit":
        return maskgit_sampler(run, decoding_settings(run.config.decoding, options))
    for name in ("steps", "schedule", "temperature", "guidance"):
        if getattr(options, name) is not None and (options.decoder, name) != ("diffusion", "steps"):
            raise UserError(f"--{name} is a setting of MaskGIT's; leave it out with --decoder {options.decoder}")
    if options.decoder == "autoregressive":
        return autoregressive_sampler(run)
    if options.decoder == "gan":
        return gan_sampler(run)
    return diffusion_sampler(run, DIFFUSION_STEPS if options.steps is None else options.steps)


# --- What is told ---


def notes(run: Run, options: Options, metrics: Sequence[str], second: int, width: int) -> list[str]:
    """What a reader must know to make use of the numbers."""
    lines = [f"{feature_names(run, options.features)['comparable']}"] if width else []
    if {"fd", "tokenizer"} & set(metrics):
        lines.append(
            f"FD falls with more images: compare only equal counts; {second} real images score what 'real' says,"
            " which is the floor"
        )
        if min(second, options.samples, options.reference) <= width:
            lines.append(f"fewer images than the {width} features: the covariances are singular, the FD is rough")
    if second < options.samples:
        lines.append(f"there are only {second} real images for 'real': it is less favourable than it should be")
    if "cas" in metrics:
        lines.append(
            f"CAS: a classifier trained for {run.config.classifier.steps} steps on the generated images, or on as many"
            f" real training images, is right on that fraction of {second} real ones"
        )
    return lines


def table(result: dict) -> str:
    """The result as text: what was measured, a line a metric, and how to read it."""
    real = result["real"]
    lines = [f"{real['data']}: {real['second']} held-out real images against a reference of {real['reference']} others"]
    if result["samples"]:
        lines.append(
            f"{result['decoder']}: {result['samples']} generated images, {result['samples_per_class']:g} a class,"
            f" seed {result['seed']}, {', '.join(f'{key} {value}' for key, value in result['decoding'].items())}"
        )
    lines += [f"features: {result['features']['network']}", "", f"{'':<38}{'this run':>10}{'real':>10}"]
    for key, score in result["metrics"].items():
        name, rises = NAMES[key]
        floor = "" if score["real"] is None else f"{score['real']:.4g}"
        lines.append(f"{name:<38}{score['value']:>10.4g}{floor:>10}  {'higher' if rises else 'lower'} is better")
    return "\n".join([*lines, "", *(f"- {note}" for note in result["notes"])])
