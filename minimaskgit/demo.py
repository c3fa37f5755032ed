"""MaskGIT from start to finish on a small scale: train, compare, judge, show: `make demo` (lesson 0).

    tokenizer ──> masked transformer ──> causal transformer ──> the race (compare/) ──> judged samples (report.json)

The judge is trained on real images only (training/judge.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from minimaskgit import autoregressive, figures
from minimaskgit.classifier import Classifier, class_accuracy
from minimaskgit.common import cli
from minimaskgit.common.files import write_json
from minimaskgit.common.machine import described, machine
from minimaskgit.common.precision import double
from minimaskgit.data.glyphs import palette_of
from minimaskgit.data.strays import with_strays
from minimaskgit.measuring import race
from minimaskgit.measuring.samplers import generate
from minimaskgit.runs.checks import check, check_output_folder, checked
from minimaskgit.runs.choices import choose_labels, decoding_loop
from minimaskgit.runs.config import Config, first_difference, load_config
from minimaskgit.runs.models import training_seconds
from minimaskgit.runs.presets import PresetName, starting_point
from minimaskgit.runs.run import Run, open_run
from minimaskgit.training import rehearsal
from minimaskgit.training.judge import judge_accuracy, load_judge
from minimaskgit.training.stages import STAGES, check_folder, train

SAMPLES = 500
BATCH = 100  # samples decoded at once


@dataclass(frozen=True)
class Options:
    """The demo's settings and run folder; all training settings can be changed too."""

    preset: PresetName = "demo"  # settings to start from; other options change single ones
    out: Path | None = None  # run folder; an interrupted demo is resumed
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo; finished models of an earlier demo with the same settings are kept, and training is resumed."""
    preset, out, config = starting_point(argv)
    options = checked(cli.parse(Options, "demo", Options(preset, out, config=config), argv))
    check_output_folder("--out", out)
    saved = out / "config.json"
    earlier = load_config(saved) if saved.exists() else None
    same = earlier is not None and first_difference(earlier, options.config) is None
    check(options.config)
    check_folder(options.config, out, STAGES, resume=same)
    if not same:
        print(f"timing {rehearsal.STEPS} steps of each stage, to estimate the total time")
        print(rehearsal.forecast(options.config, rehearsal.seconds_per_step(options.config, options.device)))
    train(earlier if same else options.config, out, resume=same, device=options.device)
    run = open_run(out, options.device)
    race.compare(run, race.Options(run=out))
    report = make_report(run)
    print(summary(report))
    print("look at:")
    for name in ("report.json", "samples.png", "compare/decoding.png", "compare/compare.png", "compare/race.gif"):
        print(f"  {out / name}")


def make_report(run: Run) -> dict:
    """Judge samples of both decoders and write report.json and samples.png."""
    judge = load_judge(run)
    tokenizer, labels = run.tokenizer(), choose_labels(run, SAMPLES)
    masked, causal = run.transformer(), run.autoregressive()
    settings = run.config.decoding
    parts = labels.split(BATCH)
    seeded = lambda seed: torch.Generator(run.device).manual_seed(seed)
    loop = decoding_loop(settings, run)
    samples = [generate(run, tokenizer, masked, part, loop, seeded(i))[1] for i, part in enumerate(parts)]
    samples, rivals = torch.cat(samples), []
    with run.autocast(), torch.no_grad():
        for i, part in enumerate(parts):
            rivals.append(tokenizer.decode(autoregressive.generate(causal, part, generator=seeded(i))))
    seconds = training_seconds(run.folder, ("classifier", "tokenizer", "transformer", "autoregressive"))
    report = {
        **scores(run, judge, samples, labels),
        "seconds": sum(value for stage, value in seconds.items() if stage != "autoregressive"),
        "samples": SAMPLES,
        "decoding": asdict(settings),
        "judge_accuracy_on_real_images": judge_accuracy(run),
        "autoregressive": scores(run, judge, torch.cat(rivals), labels),
        "seconds_by_stage": seconds,
        "machine": machine(run.device),
    }
    write_json(run.folder / "report.json", report)
    names = run.label_names[:10]
    of_these = samples[(labels < len(names)).cpu()]
    shown = figures.grid(of_these[: 6 * len(names)], columns=len(names))
    figures.save_png(shown, run.folder / "samples.png")
    return report


def scores(run: Run, judge: Classifier, images: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Fraction of images of the requested class; for glyphs also the fractions of one palette and without strays."""
    found = dict.fromkeys(("palette_accuracy", "without_strays"))
    if run.config.data == "glyphs":
        strays = with_strays(images, labels, run.label_names)
        passed = {"palette_accuracy": palette_of(images) >= 0, "without_strays": ~strays}
        found = {name: double(ok).mean().item() for name, ok in passed.items()}
    return {"class_accuracy": class_accuracy(judge, images, labels), **found}


def summary(report: dict) -> str:
    """The report in a few lines."""
    lines = [
        f"{report['samples']} samples, judged by a classifier that is right on"
        f" {report['judge_accuracy_on_real_images']:.1%} of real images:"
    ]
    for name, part in (("MaskGIT", report), ("autoregressive", report["autoregressive"])):
        heads = {"class_accuracy": "asked class", "palette_accuracy": "one palette", "without_strays": "without strays"}
        # Only glyphs have the last two.
        shown = [f"{head} {part[key]:.1%}" for key, head in heads.items() if part[key] is not None]
        lines.append(f"  {name:<15} {', '.join(shown)}")
    lines.append(f"tokenizer and masked transformer trained in {report['seconds']:.0f} s")
    lines.append(f"on {described(report['machine'])}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
