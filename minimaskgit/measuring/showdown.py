"""All models compared: `python -m minimaskgit.compare --run runs/demo --showdown` (lesson 8; paper table 1).

MaskGIT, its autoregressive twin, a GAN and a diffusion model learn from the same pictures for about the same time. Each
makes the same number of samples of the same classes. The same network judges them, and they are timed in turns, from
classes to pixels. No model's settings were chosen by these numbers: each uses the settings of its own training stage.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit import figures
from minimaskgit.classifier import Classifier
from minimaskgit.common.machine import machine
from minimaskgit.common.tables import text_table
from minimaskgit.common.timing import interleaved
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.data.splits import counted
from minimaskgit.measuring.class_edits import measure_class_edits
from minimaskgit.measuring.evaluation import check_neighbours, check_samples
from minimaskgit.measuring.networks import cached_reference, feature_names, judge_network, look
from minimaskgit.measuring.pictures import Pictures, compared, sample, through_tokenizer, training_pictures
from minimaskgit.measuring.samplers import (
    Sampler,
    autoregressive_sampler,
    diffusion_sampler,
    gan_sampler,
    maskgit_sampler,
)
from minimaskgit.measuring.scores import (
    GLYPH_METRICS,
    Scores,
    classification_accuracy_score,
    feature_scores,
    picture_scores,
)
from minimaskgit.runs.choices import at_steps, choose_labels, decoder_name
from minimaskgit.runs.config import DecodingConfig, load_config
from minimaskgit.runs.presets import PRESETS
from minimaskgit.runs.run import Run, label_names
from minimaskgit.training.judge import load_judge
from minimaskgit.training.stages import train

METRICS = ("fd", "is", "precision-recall", "class", *GLYPH_METRICS, "cas")
STAGES = ("tokenizer", "transformer", "autoregressive", "gan", "diffusion")
DIFFUSION_STEPS = (250, 50, 10)
EDITS = 500  # pictures edited


@dataclass(frozen=True)
class Settings:
    """How much to measure."""

    samples: int = 2000  # images per model
    reference: int = 10_000  # held-out real images to compare with
    batches: tuple[int, ...] = (1, 64)  # batch sizes: images made at once
    repeats: int = 3  # timings per model and batch size, interleaved; the median counts
    shown: int = 10  # images in the picture
    seed: int = 0  # of the first sample of each model
    seeds: int = 3  # samples of each model, by which the verdicts tell a difference from chance


def check(samples: int, folder: Path) -> None:
    """Raise UserError, before hours of training, for too few samples."""
    check_samples(samples, len(label_names(folder) if (folder / "labels.json").exists() else GLYPH_NAMES))


def train_missing(folder: Path, device: str = "auto") -> None:
    """Train the stages that a run lacks for the showdown; a new run gets the demo's settings."""
    saved = folder / "config.json"
    config = load_config(saved) if saved.exists() else PRESETS["demo"]()
    train(config, folder, STAGES, resume=saved.exists(), device=device)


def showdown(run: Run, settings: Settings, decoding: DecodingConfig, folder: Path) -> tuple[dict, list[Path]]:
    """Measure all models; return the showdown's part of compare.json, and the paths of the pictures drawn."""
    labels = choose_labels(run, settings.samples)
    reference, second = compared(run, settings.reference, labels)
    check_neighbours(min(settings.samples, len(reference.labels), len(second.labels)))
    samplers = contestants(run, decoding)
    speed = time_all(run, samplers, settings)
    network = judge_network(judge := load_judge(run))
    target = cached_reference(run, network, "classifier", reference)
    metrics = [name for name in METRICS if name not in GLYPH_METRICS or run.config.data == "glyphs"]

    def scores(pictures: Pictures, cas_from: Pictures, seed: int = settings.seed) -> Scores:
        found = feature_scores(metrics, look(run, network, pictures.images), target)
        found |= picture_scores(run, metrics, judge, pictures)
        return found | {"cas": classification_accuracy_score(run, cas_from, second, seed)}

    seeds = range(settings.seed, settings.seed + settings.seeds)
    rows, shown = [], {}
    for name, sampler in samplers.items():
        row = {"name": name, "passes": sampler.passes, "settings": sampler.settings}
        row |= {"parameters": sampler.parameters, "training_seconds": sampler.training_seconds, "batch": speed[name]}
        if name == "autoregressive, no cache":  # the same tokens from the same seed
            row |= {key: rows[-1][key] for key in ("scores", "by_seed")}
        else:
            print(f"{name}: {settings.seeds} times {settings.samples} samples")
            made = [sample(run, sampler.draw, labels, seed) for seed in seeds]
            row |= {"by_seed": [scores(each, each, seed) for each, seed in zip(made, seeds)]}
            row |= {"scores": mean(row["by_seed"])}
            shown[name] = made[0].images[: settings.shown]
        rows.append(row)
    learned_from = training_pictures(run, settings.samples)
    real = scores(second, learned_from)
    through = [Pictures(through_tokenizer(run, pictures)[1], pictures.labels) for pictures in (second, learned_from)]
    result = {
        **asdict(settings),
        "real_images": len(second.labels),
        "features": feature_names(run, "classifier"),
        "rows": rows,
        "real": real,
        "through_tokenizer": scores(*through),
        "edits": edits(run, judge, decoding, seeds),
        "machine": machine(run.device),
    }
    return result, draw(result, shown, same_classes(second, labels[: settings.shown]), folder)


def contestants(run: Run, decoding: DecodingConfig) -> dict[str, Sampler]:
    """The samplers by name; first MaskGIT with the settings `decoding`, then with twice as many steps."""
    more = at_steps(decoding, min(2 * decoding.steps, run.transformer().num_tokens), run)
    name = lambda how: f"MaskGIT, T = {how.steps}" + ", searched" * (decoder_name(how) == "searched")
    maskgit = {name(how): maskgit_sampler(run, how) for how in (decoding, more)}
    twins = {f"autoregressive, {'' if cache else 'no '}cache": autoregressive_sampler(run, cache) for cache in (1, 0)}
    diffusion = {f"diffusion, {steps} steps": diffusion_sampler(run, steps) for steps in DIFFUSION_STEPS}
    return {**maskgit, **twins, "GAN": gan_sampler(run), **diffusion}


def time_all(run: Run, samplers: dict[str, Sampler], settings: Settings) -> dict[str, dict]:
    """Seconds and images per second of each model, from classes to pixels, at each batch size."""

    def work(sampler: Sampler, batch: int) -> Callable[[], Tensor]:
        labels = choose_labels(run, batch)
        return lambda: sampler.draw(labels, torch.Generator(run.device).manual_seed(settings.seed))

    with run.autocast(), torch.no_grad():
        seconds = interleaved(
            {(name, batch): work(sampler, batch) for name, sampler in samplers.items() for batch in settings.batches},
            settings.repeats,
            run.device,
        )

    def speed(taken: Sequence[float], batch: int) -> dict:
        median = statistics.median(taken)
        return {"seconds": median, "images_per_second": batch / median, "times": list(taken)}

    return {name: {str(batch): speed(seconds[name, batch], batch) for batch in settings.batches} for name in samplers}


def mean(scores: Sequence[Scores]) -> Scores:
    """The mean of each score."""
    return {key: statistics.fmean(each[key] for each in scores) for key in scores[0]}


def edits(run: Run, judge: Classifier, decoding: DecodingConfig, seeds: Sequence[int]) -> dict | None:
    """Class edits by MaskGIT and its twin in two regions: one leaves the rim, the other the lowest row of tokens.

    By region: the mean scores of each, and those of every seed. None for photographs, and for glyphs of one class.
    """
    if run.config.data != "glyphs" or len(run.label_names) == 1:
        return None
    size, f = run.config.images.size, run.tokenizer().downsampling
    boxes = {"all but the rim": (f, f, size - f, size - f), "all but the lowest tokens": (0, 0, size, size - f)}
    found = {}
    for name, box in boxes.items():
        each = [measure_class_edits(run, judge, EDITS, seed, box, decoding) for seed in seeds]
        found[name] = {model: mean([scores[model] for scores in each]) for model in each[0]} | {"by_seed": each}
    return found


def same_classes(pictures: Pictures, labels: Tensor) -> Tensor:
    """Distinct pictures of the classes `labels` (B,), one per label as far as they last: (M, 3, S, S)."""
    of_class = {label: iter((pictures.labels == label).nonzero().flatten().tolist()) for label in set(labels.tolist())}
    found = [next(of_class[label], None) for label in labels.tolist()]
    return pictures.images[[index for index in found if index is not None]]


def draw(result: dict, shown: dict[str, Tensor], real: Tensor, folder: Path) -> list[Path]:
    """Write a row of samples per model, and the plot of quality against time."""
    batch = str(result["batches"][-1])
    rows = {}
    for row in result["rows"]:
        if row["name"] in shown:
            pace, fd = 1000 / row["batch"][batch]["images_per_second"], row["scores"]["fd"]
            label = row["name"].replace(",", ":").replace(": cache", "") + f", {counted(row['passes'], 'pass')}"
            rows[f"{label}, {pace:.3g} ms per image, FD {fd:.3g}"] = shown[row["name"]]
    rows["real, held-out images"] = real
    points = {row["name"]: (row["batch"][batch]["seconds"] / int(batch), row["scores"]["fd"]) for row in result["rows"]}
    scatter = figures.scatter(
        points,
        f"seconds per image, {batch} at once (log)",
        "FD (log), lower is better",
        "Quality against time",
    )
    return [
        figures.save_png(figures.comparison(rows, columns=result["shown"]), folder / "showdown.png"),
        figures.save_png(scatter, folder / "quality.png"),
    ]


# --- The table ---


def table(result: dict) -> str:
    """The result as text, one line per model."""
    batches = [str(batch) for batch in result["batches"]]
    columns = {"fd": "FD", "is": "IS", "precision": "prec.", "recall": "recall", "cas": "CAS"}
    columns |= {"class_accuracy": "class", "palette_accuracy": "palette", "without_strays": "no strays"}
    columns = {key: head for key, head in columns.items() if key in result["real"]}
    heads = ["", "passes", "params", "trained", *(h for batch in batches for h in (f"batch {batch}: s", "img/s"))]
    rows = []
    for row in result["rows"]:
        cells = [row["name"], row["passes"], f"{row['parameters'] / 1e6:.2f}M", f"{row['training_seconds']:.0f} s"]
        for batch in batches:
            pace = row["batch"][batch]["images_per_second"]
            cells += [f"{row['batch'][batch]['seconds']:.3f}", f"{pace:{'.0f' if pace >= 100 else '.3g'}}"]
        rows.append([*cells, *_scores(row["scores"], columns)])
    for name, key in {"real images": "real", "real, through the tokenizer": "through_tokenizer"}.items():
        rows.append([name, *[""] * (len(heads) - 1), *_scores(result[key], columns)])
    lines = [
        text_table([*heads, *columns.values()], rows),
        "",
        f"{result['samples']} samples each, the classes in turn, mean of {result['seeds']} seeds;"
        " seconds from classes to pixels; 'trained': seconds of all stages that it stands on",
        result["features"]["comparable"],
    ]
    if result["real_images"] < result["samples"]:
        lines.append(f"only {result['real_images']} real images were left, so their scores look worse than they should")
    for region, found in (result["edits"] or {}).items():
        parts = (
            f"{name} asked class {score['asked_class']:.1%}, palette kept {score['kept_palette']:.1%}"
            for name, score in found.items()
            if name != "by_seed"
        )
        lines.append(f"class edit, {region}: {'; '.join(parts)}")
    return "\n".join(lines)


def _scores(scores: Scores, columns: dict[str, str]) -> list[str]:
    return [f"{scores[key]:{'.3f' if scores[key] < 100 else '.1f'}}" for key in columns]
