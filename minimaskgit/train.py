"""Train the stages of MaskGIT: `python -m minimaskgit.train --preset demo` (lessons 2, 3 and 9).

images ──> classifier ──perceptual loss──> tokenizer ──frozen──> tokens ──> masked transformer
                                                                     │             └──features──> critic
                                                                     └────> causal transformer (the baseline)
images ──> gan, diffusion (rivals/)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate.state import PartialState

from minimaskgit.common import cli
from minimaskgit.common.timing import duration
from minimaskgit.data.splits import counted
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.config import Config, Positive
from minimaskgit.runs.models import is_finished, training_seconds
from minimaskgit.runs.presets import PresetName, starting_point
from minimaskgit.training.rehearsal import mean_seconds
from minimaskgit.training.stages import SETTINGS, STAGES, Stage, limit_steps, train


@dataclass(frozen=True)
class Options:
    """What to train, and the run folder."""

    preset: PresetName = "demo"  # settings to start from; other options change single ones
    full: bool = False  # short for --preset full
    # run or pretrained weights to start from, with its settings; on a CPU also choose fewer steps and smaller batches
    init_from: str | None = None
    # stage to train; all: the first three
    stage: Literal[Stage, "all"] = "all"
    out: Path | None = None  # run folder; with --max-steps N, runs/PRESET-N-steps
    resume: bool = False  # continue the run in --out with its settings; more steps extend unfinished stages
    # train each stage for at most so many steps, to estimate the whole time; with --resume: save and stop then
    # (default: no limit)
    max_steps: Positive | None = None
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


# --- The command ---


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options and train."""
    preset, out, config = starting_point(argv)
    default = Options(preset=preset, init_from=config.init_from or None, out=out, config=config)
    options = checked(cli.parse(Options, "train", default, argv))
    options = replace(options, config=replace(options.config, init_from=options.init_from or ""))
    check_output_folder("--out", out)
    stages = STAGES if options.stage == "all" else (options.stage,)
    limited = options.config
    if options.max_steps is not None:  # a report for each step, so that the first, a warm-up, need not count
        limited = replace(limit_steps(limited, options.max_steps), report_every=1)
    if options.resume:
        done = train(options.config, out, stages, True, options.device, estimate=True, stop_at=options.max_steps)
    else:
        done = train(limited, out, stages, device=options.device, estimate=True)
    everyone = PartialState()
    if options.max_steps is not None and not options.resume and everyone.is_main_process:
        print(whole_time(options.config, limited, out, stages))
    if done:
        able = is_finished(out / "transformer")
        following = ["generate", "--run", out] if able else ["train", "--resume", "--out", out]
        following += ["--decoder", "critic"] if options.stage == "critic" else []
        everyone.print(f"done: {out}; next: {cli.typed(*following)}")
    else:
        everyone.print(f"stopped early: {out}; --resume continues")
    everyone.destroy_process_group()


def whole_time(whole: Config, limited: Config, folder: Path, stages: Sequence[Stage]) -> str:
    """Estimate, as text, how long the full settings would take here, from a run shortened by --max-steps."""
    seconds = {}
    for stage, taken in training_seconds(folder, ("classifier", *stages)).items():
        speed = folder / stage / "speed.jsonl"
        if speed.exists() and speed.stat().st_size:
            step = mean_seconds(folder / stage, limited, stage)
        else:  # a rival, of which no speed is recorded, or a tokenizer that is kept as it is
            step = taken / (getattr(limited, SETTINGS[stage]).steps or 1)
        seconds[stage] = getattr(whole, SETTINGS[stage]).steps * step
    stage_times = ", ".join(f"{stage} {duration(value)}" for stage, value in seconds.items())
    return (
        f"estimated from {counted(limited.transformer_training.steps, 'step')} per stage, all steps would take"
        f" {duration(sum(seconds.values()))} here ({stage_times}), plus the time to encode the images"
    )


if __name__ == "__main__":
    cli.run(main)
