"""The ablation of the recipe: one change at a time, at equal training time, with several seeds (make ablate-recipe).

    base + one change ──as many steps as take the base's time──> a model ──> FD, precision and more on fresh images
    the same seeds and images for every change ──> paired differences from the base, with their intervals

Recipes are chosen on images of the *training* split beyond those that the models learn from; the held-out images, on
which evaluate and compare judge, are not looked at. A tokenizer is measured by its reconstructions. Transformers work
on the base's tokenizer and are measured against reconstructions, so that only their own errors count.
"""

import json
import os
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import torch
import tyro
from tqdm.auto import tqdm

from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.machine import machine, pick_device
from minimaskgit.common.precision import choose
from minimaskgit.common.tables import text_table
from minimaskgit.measuring.changes import BASE, VARIANTS, changed, differing, is_free
from minimaskgit.measuring.intervals import half_width, side
from minimaskgit.measuring.networks import judge_network, look
from minimaskgit.measuring.pictures import Pictures, sample, through_tokenizer
from minimaskgit.measuring.samplers import autoregressive_sampler, maskgit_sampler
from minimaskgit.measuring.scores import Scores, accuracy, feature_scores, tokenizer_scores
from minimaskgit.runs.choices import choose_labels
from minimaskgit.runs.config import Config, Positive, Samples, Seed, Share, saved_as
from minimaskgit.runs.origin import run_data
from minimaskgit.runs.presets import PresetName
from minimaskgit.runs.run import Run, open_run
from minimaskgit.training.judge import load_judge
from minimaskgit.training.rehearsal import seconds_per_step
from minimaskgit.training.stages import SETTINGS, train

# Of the judge's images. Elsewhere a judge has the seed after the run's, which here may be the next model's.
JUDGE_SEED = 2**62
ROUNDS = 5  # in which base and change are timed in turn


@dataclass(frozen=True)
class Options:
    """What to compare with the preset's recipe; every setting of the base can be changed too."""

    preset: PresetName = "demo"  # settings to start from; other options change single ones
    variants: tuple[str, ...] = ()  # changes by name, such as rope or tokenizer/batch-16 (default: all)
    seeds: tuple[Seed, ...] = (0, 1, 2)  # seeds of training: each has its own images, first weights and batches
    share: Share = 1.0  # fraction of the preset's training time
    samples: Samples = 2000  # images generated or reconstructed
    reference: Samples = 5000  # other real images to compare with
    jobs: Positive = 1  # models to train at the same time; for these small ones a GPU has room for a dozen
    plan: bool = False  # only time the steps; another machine may then train the models with the file in --out
    out: Path = Path("runs/recipe")  # folder for models and results; what is finished there is kept
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


def ablate_recipe(options: Options, report: Callable[[dict], None]) -> dict:
    """Train and measure all models that are not there yet; `report` gets the results after each of them."""
    todo = [
        (stage, name, changes, seed)
        for stage, variants in differing(options.config, options.variants).items()
        if variants
        for seed in options.seeds
        for name, changes in {BASE: {}, **variants}.items()
    ]
    if not todo:
        raise UserError(
            "--variants: the recipe has these settings already, so there is nothing to compare; name others"
        )
    results = opened(options)
    # Chosen once for all models: a process that measured it while the others work might choose another one.
    precision = choose(options.config.precision, pick_device(options.device))
    options = replace(options, config=replace(options.config, precision=precision))
    missing = {}
    for stage, name, changes, seed in todo:
        key, facts = f"{stage}/{name}/{seed}", facts_of(changes, options)
        kept = results["models"].get(key)
        if kept and kept["facts"] != facts:
            raise UserError(
                f"{options.out} holds {key} made with other settings, {kept['facts']}; choose another --out"
            )
        if kept is None:
            missing[key] = facts, replace(settings_of(stage, changes, options, results), seed=seed)
    if options.plan or not missing:
        return results
    device = prepare(options)
    done = tqdm(measured(missing, options), total=len(missing), desc="models", unit="model", disable=options.jobs == 1)
    for key, scores in done:
        facts, config = missing[key]
        steps = getattr(config, SETTINGS[key.split("/")[0]]).steps
        results["models"][key] = {"facts": facts, "steps": steps, "scores": scores}
        results["machine"] = machine(device)
        write_json(options.out / "recipe.json", results)
        report(results)
    return results


def opened(options: Options) -> dict:
    """The results in --out so far; UserError if they are of another recipe."""
    results = {"costs": {}, "models": {}} | read_kept(options.out / "recipe.json", "measure again")
    base = replace(options.config, seed=0)
    if not saved_as(results.setdefault("base", json.loads(json.dumps(asdict(base)))), base):
        raise UserError(
            f"{options.out} holds an ablation of another recipe (see its recipe.json); choose another --out"
        )
    return results


def facts_of(changes: Mapping[str, Any], options: Options) -> dict:
    """How a model was made, as kept with its scores."""
    return {"changes": changes, "share": options.share, "samples": options.samples, "reference": options.reference}


# --- Training at equal time ---


def settings_of(stage: str, changes: Mapping[str, Any], options: Options, results: dict) -> Config:
    """The base with the changes, and as many training steps as take the base's time times --share."""
    base, name = options.config, SETTINGS[stage]
    steps = options.share * getattr(base, name).steps / cost_of(stage, changes, options, results)
    return changed(changed(base, changes), {f"{name}.steps": max(1, round(steps))})


def cost_of(stage: str, changes: Mapping[str, Any], options: Options, results: dict) -> float:
    """How many times as long as the base's a training step takes; measured in turn with the base's, and kept."""
    if is_free(options.config, changes):
        return 1.0
    key, costs = json.dumps([stage, changes]), results["costs"]
    if key not in costs:
        print(f"timing the steps of {stage} with {changes}", flush=True)
        time = lambda config: seconds_per_step(config, options.device, ("tokenizer", stage), judge=False)[stage]
        base, other = options.config, changed(options.config, changes)
        pairs = [(time(base), time(other)) for _ in range(ROUNDS)]
        ours, theirs = map(min, zip(*pairs))  # other work on the machine can only make a round slower
        costs[key] = theirs / ours
        results["timed"] = machine(pick_device(options.device))
        write_json(options.out / "recipe.json", results)
    return costs[key]


def first(options: Options) -> Path:
    """The folder of the base with the first seed: its tokenizer's tokens and its judge are everybody's."""
    return options.out / "tokenizer" / f"{BASE}-{options.seeds[0]}"


def prepare(options: Options) -> torch.device:
    """Train the tokenizer and the judge that all models share, unless they are there; returns the device."""
    config = replace(settings_of("tokenizer", {}, options, {}), seed=options.seeds[0])
    train_in(first(options), config, "tokenizer", options)
    return next(judged(options).parameters()).device


def train_in(folder: Path, config: Config, stage: str, options: Options) -> None:
    """Train one stage into `folder`, or what is left of it."""
    train(config, folder, (stage,), (folder / "config.json").exists(), options.device)


def trained(config: Config, stage: str, folder: Path, options: Options) -> Run:
    """The run in `folder` with this stage trained; transformers get the tokenizer of the base with the first seed."""
    if stage != "tokenizer":
        shutil.copytree(first(options) / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    train_in(folder, config, stage, options)
    return open_run(folder, options.device, options.config.precision)


# --- Measuring ---


def fresh(run: Run, *counts: int) -> list[Pictures]:
    """Disjoint sets, of these sizes, of pictures from the training split that the run did not learn from."""
    learned, last = run.config.images.count, run.config.images.count + sum(counts)
    data = run_data(run, "train", last)
    if len(data) < last:
        raise UserError(f"{run.config.data} has {len(data)} training images; expected {last} or more")
    return [Pictures(*data.batch(chosen)) for chosen in torch.arange(learned, last).split(counts)]


def judged(options: Options) -> Classifier:
    """The judge that measures all models; it is kept with the base of the first seed, but has a seed of its own."""
    run = open_run(first(options), options.device, options.config.precision)
    return load_judge(replace(run, config=replace(run.config, seed=JUDGE_SEED)))


def tokenizer_quality(run: Run, options: Options) -> Scores:
    """FD of reconstructions from other real images, PSNR, SSIM and use of the codebook."""
    reference, second = fresh(run, options.reference, options.samples)
    network = judge_network(judged(options))
    return tokenizer_scores(run, network, look(run, network, reference.images), second)


def samples_quality(run: Run, options: Options, masked: bool) -> Scores:
    """FD, precision, recall and class accuracy of generated images, against reconstructions of real ones."""
    (reference,) = fresh(run, options.reference)
    judge = judged(options)
    network = judge_network(judge)
    sampler = maskgit_sampler(run, run.config.decoding) if masked else autoregressive_sampler(run)
    pictures = sample(run, sampler.draw, choose_labels(run, options.samples), seed=0, quiet=True)
    target, seen = look(run, network, through_tokenizer(run, reference)[1]), look(run, network, pictures.images)
    scores = feature_scores(("fd", "precision-recall"), seen, target)
    return scores | {"class_accuracy": accuracy(run, judge, pictures)}


MEASURES = {
    "tokenizer": tokenizer_quality,
    "transformer": lambda run, options: samples_quality(run, options, masked=True),
    "autoregressive": lambda run, options: samples_quality(run, options, masked=False),
}


def measured(models: Mapping[str, tuple[dict, Config]], options: Options) -> Iterator[tuple[str, Scores]]:
    """Train and measure the models "STAGE/NAME/SEED"; yields each one's name and scores when it is done.

    UserError if a process that does so is killed.
    """
    jobs = [(key, config, options) for key, (_, config) in models.items()]
    if options.jobs == 1:
        for number, job in enumerate(jobs, 1):
            print(f"model {number} of {len(jobs)}: {job[0]}", flush=True)
            yield work(job)
        return
    threads = max(1, torch.get_num_threads() // options.jobs)
    try:
        with ProcessPoolExecutor(options.jobs, get_context("spawn"), prepare_worker, (threads,)) as pool:
            # No more than can run are handed over, so that Ctrl-C, which all processes get, leaves nothing to do.
            waiting = iter(jobs)
            running = begun(pool, islice(waiting, options.jobs))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= begun(pool, islice(waiting, len(done)))
                for future in done:
                    yield future.result()
    except BrokenProcessPool:
        raise UserError(
            "a process that trained a model was killed, perhaps because memory is short; run the same command again"
            " with fewer --jobs: what is finished is kept"
        ) from None


def begun(pool: ProcessPoolExecutor, jobs: Iterable[tuple[str, Config, Options]]) -> set[Future]:
    """Hand jobs to the pool; a process that starts for one heeds Ctrl-C when it is prepared, not amid its imports."""
    heed_interrupts(False)
    try:
        return {pool.submit(work, job) for job in jobs}
    finally:
        heed_interrupts(True)


def work(job: tuple[str, Config, Options]) -> tuple[str, Scores]:
    """Train and measure one model."""
    key, config, options = job
    stage, name, seed = key.split("/")
    return key, MEASURES[stage](trained(config, stage, options.out / stage / f"{name}-{seed}", options), options)


def prepare_worker(threads: int) -> None:
    """Prepare a process that trains beside others: its share of the cores, no output, Ctrl-C, the end of its parent."""
    torch.set_num_threads(threads)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open as long as the process lives)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()
    heed_interrupts(True)


def heed_interrupts(now: bool) -> None:
    """Take Ctrl-C now, or later: processes that start meanwhile do as this one. Does nothing on Windows."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK if now else signal.SIG_BLOCK, {signal.SIGINT})


# --- Results ---

VERDICTS = {-1: "better", 0: "cannot be told", 1: "worse"}  # by the side of zero on which the differences are


def differences(results: Mapping[str, Any]) -> list[dict]:
    """Each variant's scores, and its mean FD minus the base's with the same seed, with its 95 % interval.

    The base comes first, then the variants in the order of VARIANTS. Variants of which no seed can be compared yet are
    left out.
    """
    by_variant: dict[tuple[str, str], dict[int, dict]] = {}
    for key, model in results["models"].items():
        stage, name, seed = key.split("/")
        by_variant.setdefault((stage, name), {})[int(seed)] = model
    rows = []
    order = [(stage, name) for stage, variants in VARIANTS.items() for name in (BASE, *variants)]
    for stage, name in (key for key in order if key in by_variant):
        models = by_variant[stage, name]
        score = "reconstruction_fd" if stage == "tokenizer" else "fd"
        base = by_variant.get((stage, BASE), {})
        pairs = [(models[seed]["scores"][score], base[seed]["scores"][score]) for seed in models if seed in base]
        if not pairs:
            continue
        gaps = [theirs - ours for theirs, ours in pairs]
        scores = {key: [model["scores"][key] for model in models.values()] for key in models[min(models)]["scores"]}
        steps = round(statistics.mean(model["steps"] for model in models.values()))
        row = {"stage": stage, "name": name, "seeds": sorted(models), "steps": steps, "scores": scores}
        row |= {"difference": statistics.mean(gaps), "interval": half_width(gaps)}
        rows.append(row | {"verdict": VERDICTS[side(gaps)]})
    return rows


def table(results: Mapping[str, Any]) -> str:
    """The results as text, a table per stage: means over the seeds, difference from the base, verdict."""
    tables, rows = [], differences(results)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        ours = [row for row in rows if row["stage"] == stage]
        keys = ("reconstruction_fd", "psnr", "code_perplexity")
        keys = keys if stage == "tokenizer" else ("fd", "precision", "recall", "class_accuracy")
        cells = [
            [row["name"], len(row["seeds"]), row["steps"]]
            + [f"{statistics.mean(row['scores'][key]):.4g}" for key in keys]
            + ([] if row["name"] == BASE else [f"{row['difference']:+.3f}", spread(row["interval"]), row["verdict"]])
            for row in ours
        ]
        heads = [stage, "seeds", "steps", *(NAMES[key] for key in keys), "FD - base's", "95 %", "verdict"]
        tables.append(f"{text_table(heads, cells)}\n{summary(ours)}")
    return "\n\n".join(tables)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which changes of a stage are told apart from the base, in a line."""
    told = {verdict: [row["name"] for row in rows if row["verdict"] == verdict] for verdict in ("better", "worse")}
    return "; ".join(f"{verdict}: {', '.join(names) or 'none'}" for verdict, names in told.items())


def spread(interval: float | None) -> str:
    """Half an interval as text; nothing for a single seed."""
    return "" if interval is None else f"± {interval:.3f}"


NAMES = {
    "reconstruction_fd": "FD",
    "psnr": "PSNR",
    "code_perplexity": "perplexity",
    "fd": "FD",
    "precision": "prec.",
    "recall": "recall",
    "class_accuracy": "class",
}
