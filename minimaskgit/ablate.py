"""Which mask schedule? The paper's table 3, small: `python -m minimaskgit.ablate --run runs/demo` (lesson 3).

    the run's tokens ──> a transformer trained with each gamma ──> decoded with the same gamma, T = 1, 2, 4, ... N
                                            └──> NLL of held-out tokens          └──> FD, class accuracy; the best T

FD is in the judge's features and from real images through the tokenizer, so that it blames the transformer alone.
Everything but the schedule is equal: tokenizer, first weights, batches, number of steps, seeds and counts of samples.
BERT's constant 15 % is a way to train, not to decode: a ratio that never falls would never end. Its transformer is
decoded with the cosine, and does badly, having seen canvases with few holes only: decoding starts from a blank one.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit import ablation_plot, cli, figures
from minimaskgit.checkpoint import load_model
from minimaskgit.classifier import Classifier
from minimaskgit.config import Config, decoding_arguments
from minimaskgit.decoding import decode
from minimaskgit.errors import UserError
from minimaskgit.evaluate import (
    BATCH,
    Seen,
    cached_reference,
    fd,
    feature_names,
    held_out,
    judge_network,
    look,
    sample,
    through_tokenizer,
)
from minimaskgit.files import write_json
from minimaskgit.generate import check_steps, choose_labels
from minimaskgit.judge import load_judge
from minimaskgit.machine import machine
from minimaskgit.masking import mask_counts, masked_cross_entropy, random_mask
from minimaskgit.precision import AnyPrecision
from minimaskgit.runs import Run, open_run
from minimaskgit.schedules import SCHEDULES, Schedule, cosine
from minimaskgit.session import finished, start_session
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.train import train_transformer
from minimaskgit.transformer import Transformer

# In the paper's order, from the most concave to the most convex: shape, and the paper's best T, FID and NLL (table 3,
# ImageNet at 256 x 256; the table has no constant).
PAPER = {
    "exponential": ("concave", 8, 7.89, 4.83),
    "cubic": ("concave", 9, 7.26, 4.63),
    "square": ("concave", 10, 6.35, 4.38),
    "cosine": ("concave", 10, 6.06, 4.22),
    "linear": ("linear", 16, 7.51, 3.75),
    "square_root": ("convex", 32, 12.33, 3.34),
    "logarithmic": ("convex", 60, 29.17, 3.08),
    "bert": ("constant", None, None, None),
}
STEPS, QUICK_STEPS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 64), (1, 2, 4, 8, 16, 32, 64)  # T, as far as there are tokens
SAMPLES, QUICK_SAMPLES = 2000, 500
QUICK_TRAINING = 600  # steps
COMMON_STEPS = 8  # the T at which all are compared too
FRACTIONS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)  # masked, at which the likelihood is measured


@dataclass(frozen=True)
class Options:
    """What to compare; every schedule gets the same of everything."""

    run: Path  # run folder with a tokenizer; its own transformers are neither used nor touched
    schedules: tuple[str, ...] = ()  # default all: the seven of the paper, and bert, the constant 15 percent
    quick: bool = False  # fewer training steps, samples and values of T (RUN/ablation-quick)
    train_steps: int | None = None  # training steps of each transformer; default the run's own number; quick: 600
    steps: tuple[int, ...] = ()  # decoding steps T to try; default 1 2 4 6 8 12 16 24 32 64; quick: without 6 12 24
    samples: int | None = None  # images generated for each schedule and T; default 2000; quick: 500
    reference: int = 10_000  # held-out real images they are compared with, at most half of those there are
    seed: int = 0  # of the generated images and of the masks on held-out tokens
    out: Path | None = None  # folder for the results and the transformers; default RUN/ablation, or RUN/ablation-quick
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # of matrix products; auto: the one that is fast here


class Yardstick(NamedTuple):
    """What all schedules are measured with."""

    tokenizer: Tokenizer
    judge: Classifier
    reference: Seen  # features of real images as the tokenizer gives them back: the best that tokens can draw
    real: Seen  # features of the same images themselves
    tokens: Tensor  # (M, N) of held-out images that are not in the reference
    labels: Tensor  # (M,)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, measure, print the table, write ablation.json and ablation.png."""
    options = cli.parse(Options, "Compare mask schedules, each trained and decoded with (table 3).", argv=argv)
    run = open_run(options.run, options.device, options.precision)
    options = settled(run, options)
    result = ablate(run, options)
    print(table(result))
    write_json(options.out / "ablation.json", result)
    figures.save_png(ablation_plot.draw(result), options.out / "ablation.png")
    print("look at:")
    for name in ("ablation.png", "ablation.json"):
        print(f"  {options.out / name}")


def settled(run: Run, options: Options) -> Options:
    """The options with nothing left open, T and schedules in order; UserError for what cannot be measured."""
    tokens, trained = run.tokenizer().num_tokens, run.config.transformer_training.steps
    quick = options.quick
    defaults = {
        "train_steps": min(QUICK_TRAINING, trained) if quick else trained,
        "samples": QUICK_SAMPLES if quick else SAMPLES,
        "out": run.folder / ("ablation-quick" if quick else "ablation"),
    }
    options = replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) is None})
    check_options(options, tokens, len(run.label_names))
    steps = options.steps or [min(T, tokens) for T in (QUICK_STEPS if quick else STEPS)]
    schedules = tuple(name for name in PAPER if name in (options.schedules or PAPER))
    return replace(options, steps=tuple(sorted(set(steps))), schedules=schedules)


def check_options(options: Options, num_tokens: int, num_classes: int) -> None:
    """UserError for what cannot be measured."""
    for name in options.schedules:
        if name not in PAPER:
            raise UserError(f"--schedules {name}: expected some of {', '.join(PAPER)}")
    for steps in options.steps:
        check_steps(steps, num_tokens)
    if options.train_steps < 1:
        raise UserError(f"--train-steps {options.train_steps}: expected 1 or more")
    if options.samples < 2 * num_classes:
        raise UserError(
            f"--samples {options.samples}: expected {2 * num_classes} or more, two for each of {num_classes} classes"
        )
    if options.reference < 2:
        raise UserError(f"--reference {options.reference}: expected 2 or more")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder, or a name that is free")


def ablate(run: Run, options: Options) -> dict:
    """All of the ablation; gives what is written to ablation.json."""
    train_all(run, options)
    yardstick, floor = make_yardstick(run, options)
    rows = measure_all(run, options, yardstick)
    decoding, training = run.config.decoding, run.config.transformer_training
    return {
        "run": str(run.folder),
        "quick": options.quick,
        "training": {"steps": options.train_steps, "batch_size": training.batch_size, "seed": run.config.seed},
        "decoding": {"steps": options.steps, "temperature": decoding.temperature, "guidance": decoding.guidance},
        "tokens": yardstick.tokenizer.num_tokens,
        "samples": options.samples,
        "seed": options.seed,
        "real": {"data": run.config.data, "reference": len(yardstick.reference.features)} | floor,
        "features": feature_names(run, "classifier"),
        "rows": rows,
        "findings": {key: findings(rows, key) for key in ("fd", "fd_real")},
        "notes": notes(run, options, yardstick),
        "machine": machine(run.device),
    }


# --- Training: one transformer a schedule ---


def decoding_schedule(name: str) -> str:
    """The schedule that decodes what was trained with schedule `name`: the same, and the cosine for BERT's constant."""
    return "cosine" if name == "bert" else name


def settings_of(config: Config, name: str, steps: int) -> Config:
    """The run's settings with another schedule and number of training steps, and all else the same."""
    return replace(
        config,
        transformer_training=replace(config.transformer_training, schedule=name, steps=steps),
        decoding=replace(config.decoding, schedule=decoding_schedule(name)),
    )


def claim(run: Run, name: str, options: Options) -> None:
    """Write down how one schedule's transformer is trained; UserError if its folder holds one trained otherwise."""
    folder, config = options.out / name, settings_of(run.config, name, options.train_steps)
    facts = asdict(config.transformer_training) | {
        "seed": config.seed,
        "shape": asdict(config.transformer),
        "tokenizer": fingerprint(run.folder / "tokenizer"),
    }
    facts, there = json.loads(json.dumps(facts)), _read(folder / "training.json")
    for key in facts if there else ():
        if there.get(key) != facts[key]:
            raise UserError(
                f"{folder} holds a transformer of other training ({key} is {there.get(key)!r} there and {facts[key]!r}"
                " here), and all must have the same; choose another --out, or delete it"
            )
    write_json(folder / "training.json", facts)


def train_all(run: Run, options: Options) -> None:
    """Train a transformer with each schedule; one that is finished is kept, and one begun is gone on with."""
    for name in options.schedules:
        claim(run, name, options)
    session = start_session(replace(run.config, precision=run.precision), run.folder, run.device.type)
    for number, name in enumerate(options.schedules, 1):
        print(f"transformer {number} of {len(options.schedules)}, {options.train_steps} steps with {name}")
        folder, config = options.out / name, settings_of(session.config, name, options.train_steps)
        if not finished(session, folder):
            train_transformer(replace(session, config=config), causal=False, folder=folder)


# --- Measuring ---


def make_yardstick(run: Run, options: Options) -> tuple[Yardstick, dict]:
    """What all are measured with, and the floor: the FDs of other real images, through the tokenizer and untouched.

    FD is from real images *through the tokenizer*. What the tokenizer loses is the same for all, but so much at this
    scale that it hides what the schedules do: a spotty picture may lie nearer the real ones' sharpness than a clean
    one. The FD from the real images themselves is measured too.
    """
    reference, second = held_out(run, options.reference, options.samples)
    tokenizer, judge = run.tokenizer(), load_judge(run)
    network = judge_network(judge)
    seen = look(run, network, through_tokenizer(run, reference)[1])
    real = cached_reference(run, network, "classifier", reference)
    tokens, decoded = through_tokenizer(run, second)
    back = look(run, network, decoded)
    floor = {
        "second": len(second.labels),
        "fd": fd(back, seen),
        "reconstruction_fd_real": fd(back, real),
        "fd_real": fd(look(run, network, second.images), real),
    }
    return Yardstick(tokenizer, judge, seen, real, tokens, second.labels.to(run.device)), floor


def measure_all(run: Run, options: Options, yardstick: Yardstick) -> list[dict]:
    """A row for each schedule; the bar counts the network passes of all images, which are what takes the time."""
    passes, rows = len(options.schedules) * sum(options.steps) * options.samples, []
    interval = 0.5 if sys.stderr.isatty() else 30
    try:
        with tqdm(total=passes, desc="decoding", unit="pass", unit_scale=True, mininterval=interval) as bar:
            for name in options.schedules:
                bar.set_postfix_str(name)
                rows.append(measure(run, name, options, yardstick, bar))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is measured is kept in {options.out}; to go on, run it again") from None
    return rows


def measure(run: Run, name: str, options: Options, yardstick: Yardstick, bar: tqdm) -> dict:
    """One schedule's row of the table; each point is kept as soon as it is measured, in SCHEDULE/points.json."""
    folder, decoding = options.out / name, run.config.decoding
    model = load_model(Transformer, folder).to(run.device)
    facts = {
        "samples": options.samples,
        "reference": options.reference,
        "seed": options.seed,
        "temperature": decoding.temperature,
        "guidance": decoding.guidance,
        "models": [fingerprint(path) for path in (folder, run.folder / "tokenizer", run.folder / "judge/classifier")],
    }
    kept = _read(folder / "points.json")
    if kept.get("measured_with") != facts:
        kept = {"measured_with": facts, "by_steps": {}}
    if "likelihood" not in kept:
        kept["likelihood"] = likelihoods(run, model, yardstick, SCHEDULES[name], options.seed)
        write_json(folder / "points.json", kept)
    for steps in options.steps:
        if str(steps) not in kept["by_steps"]:
            kept["by_steps"][str(steps)] = quality(run, model, name, steps, options, yardstick)
            write_json(folder / "points.json", kept)
        bar.update(steps * options.samples)
    by_steps = [{"steps": steps} | kept["by_steps"][str(steps)] for steps in options.steps]
    shape, *published = PAPER[name]
    return {
        "schedule": name,
        "shape": shape,
        "decoded_with": decoding_schedule(name),
        "best": best(by_steps),
        "common": next((point for point in by_steps if point["steps"] == COMMON_STEPS), None),
        "by_steps": by_steps,
        **kept["likelihood"],
        "paper": dict(zip(("best_steps", "fid", "nll"), published)),
    }


def quality(run: Run, model: Transformer, name: str, steps: int, options: Options, yardstick: Yardstick) -> dict:
    """FD, FD from the real images, and class accuracy of images decoded in T = `steps` steps."""
    settings = decoding_arguments(replace(run.config.decoding, steps=steps, schedule=decoding_schedule(name)))

    def sampler(labels: Tensor, generator: torch.Generator) -> Tensor:
        return yardstick.tokenizer.decode(decode(model, labels, generator=generator, **settings))

    labels = choose_labels(run, None, options.samples)
    pictures = sample(run, sampler, labels, options.seed, quiet=True)  # from the same seed at every T
    seen = look(run, judge_network(yardstick.judge), pictures.images)
    right = seen.logits.argmax(-1) == pictures.labels
    distances = {"fd": fd(seen, yardstick.reference), "fd_real": fd(seen, yardstick.real)}
    return distances | {"class_accuracy": right.double().mean().item()}


def best(points: Sequence[dict]) -> dict:
    """The point of the lowest FD; of equal ones that of the fewest steps."""
    return min(points, key=lambda point: (point["fd"], point["steps"]))


def likelihoods(run: Run, model: Transformer, yardstick: Yardstick, own: Schedule, seed: int) -> dict:
    """NLL of the held-out tokens under three kinds of masks, in nats a masked token, without label smoothing.

    nll: ratios of the cosine, the very same masks for every model; nll_own: ratios of the model's own schedule, as in
    the paper's column; nll_by_masked: pairs of a fixed fraction masked, 1 being the blank canvas, and the NLL there.
    """

    def under(schedule: Schedule) -> float:
        return nll(run, model, yardstick, held_out_masks(*yardstick.tokens.shape, schedule, seed))

    by_masked = [(fraction, under(constant(fraction))) for fraction in FRACTIONS]
    return {"nll": under(cosine), "nll_own": under(own), "nll_by_masked": by_masked}


def constant(fraction: float) -> Schedule:
    """A schedule that is `fraction` everywhere."""
    return lambda r, num_tokens: torch.full_like(r, fraction)


def held_out_masks(count: int, num_tokens: int, schedule: Schedule, seed: int) -> Tensor:
    """Masks bool (M, N) as training would draw them; one seed gives the same r to every schedule."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.rand(count, generator=generator)
    return random_mask(mask_counts(r, num_tokens, schedule), num_tokens, generator)


@torch.no_grad()
def nll(run: Run, model: Transformer, yardstick: Yardstick, masks: Tensor) -> float:
    """Mean negative log-likelihood of all tokens under `masks` bool (M, N), given the others: nats a token."""
    total = 0.0
    parts = (tensor.split(BATCH) for tensor in (yardstick.tokens, yardstick.labels, masks.to(run.device)))
    for tokens, labels, masked in zip(*parts):
        with run.autocast():
            logits = model(tokens.masked_fill(masked, model.mask_id), labels)
        total += masked_cross_entropy(logits, tokens, masked).item() * masked.sum().item()
    return total / masks.sum().item()


# --- What is told ---


def findings(rows: Sequence[dict], key: str) -> dict:
    """What the rows say of the paper's claims, by the lowest `key` of each schedule; BERT's constant stays out."""
    fds = {row["schedule"]: min(p[key] for p in row["by_steps"]) for row in rows if row["schedule"] != "bert"}
    shapes = {
        shape: [fd for name, fd in fds.items() if PAPER[name][0] == shape] for shape in ("concave", "linear", "convex")
    }
    means = {shape: sum(values) / len(values) for shape, values in shapes.items() if values}
    agreeing, pairs = pairs_in_order(fds, {name: PAPER[name][2] for name in fds})
    ranges = [values for values in shapes.values() if values]
    return {
        "order": sorted(fds, key=fds.get),
        "mean_fd_by_shape": means,
        "concave_linear_convex_on_average": list(means.values()) == sorted(means.values()),
        "concave_linear_convex_each": all(max(a) < min(b) for a, b in pairwise(ranges)),
        "pairs_in_the_papers_order": agreeing,
        "pairs": pairs,
    }


def pairs_in_order(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[int, int]:
    """How many pairs of names have the smaller of `ours` where they have the smaller of `theirs`, and of how many."""
    pairs = list(combinations(ours, 2))
    return sum((ours[a] < ours[b]) == (theirs[a] < theirs[b]) for a, b in pairs), len(pairs)


def notes(run: Run, options: Options, yardstick: Yardstick) -> list[str]:
    """What a reader must know to make use of the numbers."""
    trained = run.config.transformer_training.steps
    lines = [
        f"each transformer: {options.train_steps} training steps of {run.config.transformer_training.batch_size}"
        f" images, the same first weights and batches; {options.samples} images for each T from seed {options.seed}",
        f"{feature_names(run, 'classifier')['comparable']}; lower is better, and fewer samples give a higher FD",
        "FD is from held-out real images through the tokenizer, whose loss all share; real: from the images themselves",
        f"NLL: nats a masked token of {len(yardstick.tokens)} held-out images, no label smoothing; one set of masks for"
        " all, of the cosine's ratios; own: masks of the schedule's own ratios, as in the paper, so no common task",
        "bert: trained with a constant 15 percent masked, decoded with the cosine, for a constant cannot decode",
        "one training and one seed a schedule: small differences are chance",
    ]
    if options.quick:
        lines.insert(
            1,
            f"quick: {options.train_steps} of the run's {trained} training steps, {options.samples} samples"
            f" for {SAMPLES}, T only {', '.join(map(str, options.steps))}",
        )
    return lines


def table(result: dict) -> str:
    """The result as text: a line a schedule, the paper's numbers beside ours, what follows, and how to read it."""
    head = f"{'schedule':<13}{'shape':<10}{'best T':>6}{'FD':>8}{'real':>8}{'class':>8}"
    head += f"{f'FD T={COMMON_STEPS}':>9}{'NLL':>7}{'own':>6}   {'paper: best T':>13}{'FID':>7}{'NLL':>6}"
    lines = [head]
    for row in result["rows"]:
        point, common, paper = row["best"], row["common"], row["paper"]
        line = f"{row['schedule'].replace('_', ' '):<13}{row['shape']:<10}{point['steps']:>6}"
        line += f"{point['fd']:>8.3f}{point['fd_real']:>8.3f}{point['class_accuracy']:>8.1%}"
        line += f"{_number(common and common['fd'], 3):>9}{row['nll']:>7.2f}{row['nll_own']:>6.2f}   "
        line += f"{_number(paper['best_steps'], 0):>13}{_number(paper['fid'], 2):>7}{_number(paper['nll'], 2):>6}"
        lines.append(line)
    real = result["real"]
    lines.append(f"{'real, through tokenizer':<29}{real['fd']:>8.3f}{real['reconstruction_fd_real']:>8.3f}")
    lines.append(f"{'real, untouched':<37}{real['fd_real']:>8.3f}")
    return "\n".join([*lines, "", *verdict(result), "", *(f"- {note}" for note in result["notes"])])


def verdict(result: dict) -> list[str]:
    """Whether the paper's claims hold here, in words."""
    names, lines = {"fd": "FD", "fd_real": "FD from real images"}, []
    for key, found in result["findings"].items():
        if len(found["mean_fd_by_shape"]) < 3:
            continue
        means = ", ".join(f"{shape} {value:.3f}" for shape, value in found["mean_fd_by_shape"].items())
        holds = "does not hold here"
        if found["concave_linear_convex_on_average"]:
            holds = "holds for each" if found["concave_linear_convex_each"] else "holds on average, not for each"
        lines += [
            f"{names[key]} at its best T, best first: " + ", ".join(n.replace("_", " ") for n in found["order"]),
            f"  concave before linear before convex: {holds} (means: {means});"
            f" {found['pairs_in_the_papers_order']} of {found['pairs']} pairs in the paper's order",
        ]
    rows = {row["schedule"]: row for row in result["rows"]}
    if {"bert", "cosine"} <= set(rows):
        lines.append(bert_line(rows["bert"], rows["cosine"]))
    return lines


def bert_line(bert: dict, good: dict) -> str:
    """How BERT's constant does beside the cosine, and where it loses its way."""
    point, other = (row["common"] or row["best"] for row in (bert, good))
    return (
        f"bert beside the cosine, T = {point['steps']}: FD {point['fd']:.3f} and {other['fd']:.3f}, class right"
        f" {point['class_accuracy']:.0%} and {other['class_accuracy']:.0%}; NLL with 15 percent masked"
        f" {at(bert, 0.15):.2f} and {at(good, 0.15):.2f}, with 85 percent {at(bert, 0.85):.2f} and"
        f" {at(good, 0.85):.2f}, of a blank canvas {at(bert, 1.0):.2f} and {at(good, 1.0):.2f}"
    )


def at(row: dict, fraction: float) -> float:
    """A row's NLL with that fraction masked."""
    return dict(map(tuple, row["nll_by_masked"]))[fraction]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


# --- Files ---


def fingerprint(folder: Path) -> str:
    """A short hash of the weights of a finished model."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to measure or train anew") from None


if __name__ == "__main__":
    cli.run(main)
