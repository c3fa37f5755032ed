"""The quality of a trained run: its own samples and real images, scored alike (lesson 8; paper section 4.1).

    held-out real images ─┬─> reference ────────────┐
                          └─> second sample ──────> network ──> metrics of real images: the best a model can hope for
    generated images, the classes in turn ────────> network ──> metrics of the model

The network is the judge: the package's own classifier, trained on real images of this data set. So "FD" is a Fréchet
distance in that classifier's features and not comparable with a published FID; `--features inception` uses the network
of published FIDs. Everything is measured twice, on generated images and on the same number of real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from minimaskgit import figures
from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import machine
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.common.tables import text_table
from minimaskgit.data.imagenet import imagenet_names
from minimaskgit.measuring.memory import measure_memory, memory_note
from minimaskgit.measuring.networks import cached_reference, feature_names, inception_network, judge_network, look
from minimaskgit.measuring.pictures import compared, sample, training_pictures
from minimaskgit.measuring.samplers import (
    DIFFUSION_STEPS,
    NEEDS,
    Sampler,
    autoregressive_sampler,
    diffusion_sampler,
    gan_sampler,
    maskgit_sampler,
)
from minimaskgit.measuring.scores import (
    FEATURE_METRICS,
    GLYPH_METRICS,
    NEIGHBOURS,
    classification_accuracy_score,
    fd,
    feature_scores,
    picture_scores,
    tokenizer_scores,
)
from minimaskgit.runs.choices import (
    PAPERS,
    AnyDecoderName,
    DecodingOptions,
    Unprefixed,
    choose_labels,
    decoder_name,
    given,
    image_settings,
)
from minimaskgit.runs.config import DecodingConfig, Samples, ScheduleName, Seed
from minimaskgit.runs.presets import official
from minimaskgit.runs.run import Run
from minimaskgit.training.judge import load_judge

OTHERS = ("autoregressive", "gan", "diffusion")  # models that do not decode in parallel
METRICS = (*FEATURE_METRICS, "memory", "cas", "class", *GLYPH_METRICS, "tokenizer")
TRAINED_ON = ("memory", "cas", "class")  # need the run's training images, whatever the features

# Key in the JSON file: its name in the table, and whether higher is better.
NAMES = {
    "fd": ("Frechet distance (FD)", False),
    "is": ("inception score (IS)", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "memory_pixels": ("memory, in pixels", False),
    "memory_features": ("memory, in features", False),
    "cas": ("classification accuracy score (CAS)", True),
    "class_accuracy": ("of the asked class", True),
    "palette_accuracy": ("of one palette", True),
    "without_strays": ("without strays", True),
    "reconstruction_fd": ("tokenizer: FD of reconstructions", False),
    "reconstruction_without_strays": ("tokenizer: reconstructions without strays", True),
    "psnr": ("tokenizer: PSNR, dB", True),
    "ssim": ("tokenizer: SSIM", True),
    "code_usage": ("tokenizer: fraction of codes used", True),
    "code_perplexity": ("tokenizer: perplexity of the codes", True),
}


@dataclass(frozen=True)
class Options:
    """What to measure; decoding settings that are not given come from the run's configuration."""

    run: Path | None = None  # run folder, made by python -m minimaskgit.train; or give --pretrained
    pretrained: str | None = None  # instead of --run: packaged weights; results go to runs/pretrained/NAME
    # any of fd is precision-recall density-coverage memory cas class palette strays tokenizer
    # (default: all; on glyphs no memory)
    metrics: tuple[str, ...] = ()
    samples: Samples = 2000  # number of generated images, the classes in turn
    reference: Samples = 10_000  # held-out real images to compare with, at most half of all held-out images
    # how to decode, or another model (default: the policy searched for T, else the run's)
    decoder: Literal[AnyDecoderName, "autoregressive", "gan", "diffusion"] | None = None
    features: Literal["classifier", "inception"] = "classifier"  # network for FD, IS, precision, recall and so on
    # nearest neighbours (default: 3 for precision and recall, 5 for density and coverage, as published)
    k: int | None = None
    steps: int | None = None  # decoding steps T of MaskGIT, or steps of diffusion (default: the run's; diffusion: 250)
    schedule: ScheduleName | None = None  # mask schedule (default: the run's)
    decoding: Unprefixed = field(default_factory=DecodingOptions)
    seed: Seed = 0  # seed of the generated images, and of the classifier that CAS trains
    json: Path | None = None  # JSON file to write (default: RUN/evaluation/DECODER.json, or tokenizer.json)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # precision of matrix products; auto: the faster of bf16 and fp32 here


def evaluate(run: Run, options: Options, settings: DecodingConfig | None, sheet: Path | None = None) -> dict:
    """Measure everything requested; return the contents of the JSON file. settings: from `chosen_settings`.

    sheet: where to draw samples beside training images if memory is measured.
    """
    metrics = check_options(run, options)
    generates, compares = are_of_samples(metrics), bool({*FEATURE_METRICS, "memory", "tokenizer"} & set(metrics))
    sampler = make_sampler(run, options, settings) if generates else None
    if "tokenizer" in metrics:
        run.tokenizer()  # damaged weights are found before the work
    labels = choose_labels(run, options.samples)
    reference, second = compared(run, options.reference, labels)
    check_neighbours(min(options.samples, len(reference.labels), len(second.labels)), metrics, options.k)
    own = options.features == "classifier"
    judge = load_judge(run) if "class" in metrics or (compares and own) else None
    network = (judge_network(judge) if own else inception_network(run.device)) if compares else None

    found, expected, memory = {}, {}, None  # scores of generated images, and of as many real ones
    if compares:
        target, real = cached_reference(run, network, options.features, reference), look(run, network, second.images)
        expected |= feature_scores(metrics, real, target, options.k)
    if generates:
        generated = sample(run, sampler.draw, labels, options.seed)
        if set(FEATURE_METRICS) & set(metrics):
            found |= feature_scores(metrics, look(run, network, generated.images), target, options.k)
        for scores, pictures in ((found, generated), (expected, second)):
            scores |= picture_scores(run, metrics, judge, pictures)
    if "memory" in metrics:
        memory = measure_memory(run, network, generated, second, reference, "tokenizer" in NEEDS[sampler.kind])
        found |= {f"memory_{space}": score for space, score in memory.scores.items()}
        expected |= {f"memory_{space}": memory.level for space in memory.scores}
        if sheet:
            figures.save_png(memory.sheet, sheet)
    if "cas" in metrics:
        for scores, pictures in ((found, generated), (expected, training_pictures(run, options.samples))):
            scores["cas"] = classification_accuracy_score(run, pictures, second, options.seed)
    if "tokenizer" in metrics:
        found |= tokenizer_scores(run, network, target, second)
        expected["reconstruction_fd"] = fd(real, target)
    paper = published(run) if generates and settings and not own else None
    lines = notes(run, options, metrics, len(second.labels), real.features.shape[1] if compares else 0)
    if memory:
        lines.append(memory_note(memory))
    if paper:
        lines.append(f"paper: MaskGIT in table 1, {paper['steps']} steps, with the authors' counts of images")
    return {
        "run": str(run.folder),
        "decoder": chosen_name(options, settings) if generates else None,
        "decoding": sampler.settings if generates else None,
        "samples": options.samples if generates else 0,
        "samples_per_class": options.samples / len(run.label_names) if generates else 0,
        "seed": options.seed,
        "real": {"data": run.config.data, "reference": len(reference.labels), "second": len(second.labels)},
        "features": feature_names(run, options.features),
        "neighbours": {name: options.k or k for name, k in NEIGHBOURS.items() if name in metrics},
        "metrics": {name: {"value": found[name], "real": expected.get(name)} for name in NAMES if name in found},
        "memory": memory and {"chance": memory.chance, "copies": memory.copies, "training": memory.training},
        "paper": paper,
        "notes": lines,
        "machine": machine(run.device),
    }


# --- Checks ---


def check_options(run: Run, options: Options) -> tuple[str, ...]:
    """The metrics to measure; UserError for invalid options."""
    glyphs = run.config.data == "glyphs"
    # By default glyphs, of which there are endlessly many to draw, are not searched for copies.
    left_out = ("memory",) if glyphs else GLYPH_METRICS
    metrics = tuple(dict.fromkeys(options.metrics)) or tuple(m for m in METRICS if m not in left_out)
    if not options.metrics and options.features == "inception" and not run.has("judge/classifier"):
        metrics = tuple(m for m in metrics if m not in TRAINED_ON)
        print(f"left out: {', '.join(TRAINED_ON)}, which need the training images; ask for them with --metrics")
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"--metrics {name}: expected one or more of {', '.join(METRICS)}")
        if name in GLYPH_METRICS and not glyphs:
            raise UserError(
                f"--metrics {name}: {run.folder} was trained on {run.config.data};"
                f" {' and '.join(GLYPH_METRICS)} can be measured of glyphs only"
            )
    check_samples(options.samples, len(run.label_names))
    return metrics


def check_samples(samples: int, classes: int) -> None:
    """UserError unless there are two samples of each class."""
    if samples < 2 * classes:
        raise UserError(f"--samples {samples}: expected {2 * classes} or more, two for each of {classes} classes")


def check_neighbours(count: int, metrics: Sequence[str] = ("precision-recall",), k: int | None = None) -> None:
    """Raise UserError unless each of `count` images has as many neighbours as the metrics need."""
    for name, published in NEIGHBOURS.items():
        wanted = published if k is None else k
        if name in metrics and not 1 <= wanted < count:
            raise UserError(
                f"{name}: {wanted} neighbours of {count} images; expected 1 to {count - 1}:"
                f" {'another --k' if k is not None else 'more --samples, and more images to compare with'}"
            )


def are_of_samples(metrics: Sequence[str]) -> bool:
    """Whether any of the metrics needs generated images; those of the tokenizer do not."""
    return set(metrics) != {"tokenizer"}


def chosen_settings(run: Run, options: Options) -> DecodingConfig | None:
    """How to decode; None if another model generates the images."""
    return None if options.decoder in OTHERS else image_settings(run, options)


def chosen_name(options: Options, settings: DecodingConfig | None) -> str:
    """The name of what generates the images: a decoder or another model."""
    return decoder_name(settings) if settings else options.decoder


def make_sampler(run: Run, options: Options, settings: DecodingConfig | None) -> Sampler:
    """The requested sampler; UserError if its model is not trained or does not have a given setting."""
    if settings:
        return maskgit_sampler(run, settings)
    allowed = {"decoder", "steps"} if options.decoder == "diffusion" else {"decoder"}
    for name in (name for name in given(options) if name not in allowed):
        option = f"--{name.replace('_', '-')}"
        raise UserError(f"{option} is a MaskGIT setting; leave it out with --decoder {options.decoder}")
    if options.decoder == "autoregressive":
        return autoregressive_sampler(run)
    if options.decoder == "gan":
        return gan_sampler(run)
    return diffusion_sampler(run, DIFFUSION_STEPS if options.steps is None else options.steps)


# --- Report ---

# Table 1 of the paper, by image size: MaskGIT's steps, FID and IS on ImageNet.
PUBLISHED = {256: {"steps": 8, "fd": 6.18, "is": 182.1}}


def published(run: Run) -> dict[str, float] | None:
    """The paper's numbers for a run of the authors' own weights; None for any other run."""
    ours, theirs = run.config, official()
    same = (ours.tokenizer, ours.transformer) == (theirs.tokenizer, theirs.transformer)
    theirs_alone = same and run.imported and tuple(run.label_names) == imagenet_names()
    return PUBLISHED.get(ours.images.size) if theirs_alone else None


def notes(run: Run, options: Options, metrics: Sequence[str], second: int, width: int) -> list[str]:
    """What a reader must know to interpret the numbers."""
    lines = [feature_names(run, options.features)["comparable"]] if width else []
    if {"fd", "tokenizer"} & set(metrics):
        lines.append(
            f"FD falls with more images: compare only equal counts; the column 'real' is the score of {second} real"
            " images, the best to expect"
        )
        if min(second, options.samples, options.reference) <= width:
            lines.append(f"no more images than the {width} features: the covariances are singular, and FD is imprecise")
    if second < options.samples:
        lines.append(f"only {second} real images were left for 'real', so its scores look worse than they should")
    if "cas" in metrics:
        lines.append(
            f"CAS: accuracy on {second} real images of a classifier trained for {run.config.classifier.steps} steps on"
            " the generated images, or, for 'real', on as many real training images"
        )
    return lines


def table(result: dict) -> str:
    """The result as text: what was measured, one line per metric, and how to read it."""
    real = result["real"]
    lines = [f"{real['data']}: {real['second']} held-out real images against a reference of {real['reference']} others"]
    if result["samples"]:
        settings = [(key, value) for key, value in result["decoding"].items() if value != PAPERS.get(key)]
        settings = [(key, value) for key, value in settings if key != "policy"]  # a table by itself
        lines.append(
            f"{result['decoder']}: {result['samples']} generated images, {result['samples_per_class']:g} per class,"
            f" seed {result['seed']}, {', '.join(f'{key} {value}' for key, value in settings)}"
        )
    lines += [f"features: {result['features']['network']}", ""]
    rows, paper = [], result["paper"]
    for key, score in result["metrics"].items():
        name, rises = NAMES[key]
        floor = "" if score["real"] is None else f"{score['real']:.4g}"
        theirs = [f"{paper[key]:.4g}" if key in paper else ""] if paper else []
        rows.append([name, f"{score['value']:.4g}", *theirs, floor, f"{'higher' if rises else 'lower'} is better"])
    columns = ["", "this run", *(["paper"] if paper else []), "real", ""]
    lines += [text_table(columns, rows, left=(0, len(columns) - 1)), ""]
    return "\n".join([*lines, *(f"- {note}" for note in result["notes"])])
