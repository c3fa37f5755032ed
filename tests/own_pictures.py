"""What to expect of one's own pictures: 10,000, 1,000 and 100 of them, each learned in the same two ways.

    20 classes that SOURCE does not know ──> from scratch, with SOURCE's settings ─┬─> FD, class accuracy and more
                                        └──> --init-from SOURCE ───────────────────┘   with the same held-out images

`make own-pictures DATA=path/to/pictures` keeps what is finished. One judge, trained on the most pictures, measures
all runs. `ARGS=--time` only fine-tunes on 1,000 pictures for a while, and keeps the time. The results stand in
minimaskgit/training/README.md.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.machine import described, machine
from minimaskgit.common.tables import text_table
from minimaskgit.common.timing import duration
from minimaskgit.data.sources import load_data
from minimaskgit.measuring.evaluation import Options, chosen_settings, evaluate
from minimaskgit.runs.config import Config
from minimaskgit.runs.presets import like
from minimaskgit.runs.run import label_names, open_run, run_or_pretrained
from minimaskgit.training.stages import train

SIZES = (10_000, 1_000, 100)  # numbers of pictures; the most first, for the judge
STEPS, BATCH, SAMPLES, CLASSES = 2000, 32, 1000, 20  # steps of each stage, small batches as for a laptop
TIMED_SIZE, TIMED_STEPS = 1_000, 200
STAGES, METRICS = ("tokenizer", "transformer"), ("fd", "precision-recall", "class", "tokenizer")
SHOWN = {"fd": "FD", "class_accuracy": "asked class", "precision": "precision", "recall": "recall", "psnr": "PSNR"}


def settings_of(source: str, data: str, classes: Sequence[str], count: int, anew: bool) -> Config:
    """The source's settings for other pictures; anew: without its weights, so that the tokenizer is trained too."""
    config = like(source)
    config = replace(
        config,
        data=data,
        images=replace(config.images, count=count, classes=tuple(classes)),
        transformer_training=replace(config.transformer_training, steps=STEPS, batch_size=BATCH),
    )
    learned = replace(config.tokenizer_training, steps=STEPS, batch_size=BATCH)
    return replace(config, init_from="", tokenizer_training=learned) if anew else config


def unknown_classes(source: str, data: str) -> list[str]:
    """Classes of the data that the source does not know, spread over all of them; UserError if there are too few."""
    known, names = label_names(run_or_pretrained(source)), load_data(data, num_images=1).label_names
    new = [name for name in names if name not in known]
    if len(new) < CLASSES:
        raise UserError(f"{data} has {len(new)} classes that {source} does not know; expected {CLASSES} or more")
    return [new[i * len(new) // CLASSES] for i in range(CLASSES)]


def measure(folder: Path, config: Config, judge: Path) -> dict:
    """Train a run, or what it lacks, and measure it with the judge in another folder, or train that first."""
    train(config, folder, STAGES, resume=(folder / "config.json").exists())
    if judge.exists():
        shutil.copytree(judge, folder / "judge", dirs_exist_ok=True)
    run, options = open_run(folder), Options(folder, metrics=METRICS, samples=SAMPLES)
    found = evaluate(run, options, chosen_settings(run, options))
    if not judge.exists():
        shutil.copytree(folder / "judge", judge)
    stages = [folder / stage / "evaluation.json" for stage in ("classifier", *STAGES)]
    seconds = sum(json.loads(path.read_text("utf-8"))["seconds"] for path in stages if path.exists())
    how = {"steps": STEPS, "batch": BATCH, "samples": SAMPLES, "classes": config.images.classes}
    return {"seconds": seconds, "metrics": found["metrics"], **how, "machine": machine(run.device)}


def time_tuning(folder: Path, source: str, data: str) -> dict:
    """Fine-tune the source's transformer on some classes, which it may know: the time does not depend on them."""
    classes = load_data(data, num_images=1).label_names[:CLASSES]
    config = settings_of(source, data, classes, TIMED_SIZE, anew=False)
    config = replace(config, transformer_training=replace(config.transformer_training, steps=TIMED_STEPS))
    train(config, folder, STAGES, resume=(folder / "config.json").exists())
    seconds = json.loads((folder / "transformer/evaluation.json").read_text("utf-8"))["seconds"]
    how = {"source": source, "pictures": TIMED_SIZE, "steps": TIMED_STEPS, "batch": BATCH}
    return {"seconds": seconds, **how, "machine": machine(open_run(folder).device)}


def time_line(timed: dict) -> str:
    """How long the fine-tuning took, and where, in a sentence."""
    return (
        f"{timed['steps']} steps of {timed['batch']} pictures, from `{timed['source']}`, took"
        f" {duration(timed['seconds'])} on {described(timed['machine'])}."
    )


def table(runs: Sequence[dict]) -> str:
    """The results as text: a line for each run, and one for real images."""
    cell = lambda value: "" if value is None else f"{value:.4g}"
    scores = lambda run, kind: [cell(run["metrics"][key][kind]) for key in SHOWN]
    rows = [[f"{run['pictures']:,}", run["start"], duration(run["seconds"]), *scores(run, "value")] for run in runs]
    first = runs[0]
    rows.append(["real", "", "", *scores(first, "real")])
    how = f"{len(first['classes'])} classes, {first['steps']} steps of {first['batch']} pictures a stage"
    return (
        text_table(["pictures", "weights", "training", *SHOWN.values()], rows)
        + f"\n{how}, on {described(first['machine'])}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description="Measure what to expect of 10,000, 1,000 and 100 pictures.")
    parser.add_argument("--data", required=True, help="a folder, or a hub id")
    parser.add_argument("--source", default="photos", help="pretrained weights, or a run, to start from")
    parser.add_argument("--out", type=Path, default=Path("runs/own-pictures"), help="folder of the runs")
    parser.add_argument("--time", action="store_true", help="only time a fine-tuning on this machine")
    options = parser.parse_args(argv)
    if options.time:
        timed = time_tuning(options.out / "time", options.source, options.data)
        write_json(options.out / "time.json", timed)
        print(time_line(timed), options.out / "time.json", sep="\n")
        return
    classes, path = unknown_classes(options.source, options.data), options.out / "own-pictures.json"
    runs = read_kept(path, "measure again") or []
    for count in SIZES:
        for start in ("anew", options.source):
            if [count, start] in [[run["pictures"], run["start"]] for run in runs]:
                continue
            print(f"{count} pictures, {start}", flush=True)
            config = settings_of(options.source, options.data, classes, count, start == "anew")
            folder = options.out / f"{count}-{Path(start).name}"
            runs.append({"pictures": count, "start": start, **measure(folder, config, options.out / "judge")})
            write_json(path, runs)
    print(table(runs))


if __name__ == "__main__":
    cli.run(main)
