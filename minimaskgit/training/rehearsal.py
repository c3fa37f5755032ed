"""How long training will take on this machine, measured on a few real steps of every stage in a temporary folder.

settings ──6 steps per stage──> seconds per step ──times the steps──> seconds per stage, before training starts
"""

import contextlib
import io
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from minimaskgit.common.timing import duration
from minimaskgit.runs.config import Config
from minimaskgit.runs.run import open_run
from minimaskgit.training.judge import judge_settings, load_judge
from minimaskgit.training.stages import SETTINGS, STAGES, Stage, limit_steps, train

STEPS = 6  # per stage; the first is a warm-up and does not count


def seconds_per_step(
    config: Config, device: str = "auto", stages: Sequence[Stage] = STAGES, judge: bool = True
) -> dict[str, float]:
    """Seconds per step by stage: classifier, tokenizer, both transformers, and the judge that the demo trains."""
    # Hide printed paths, which will soon be deleted; progress bars and warnings are shown.
    silent = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, silent:
        folder = Path(temporary)
        try:
            train(replace(shortened(config), report_every=1), folder, stages, device=device)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without its message: nothing of a rehearsal is kept
        if judge:
            load_judge(open_run(folder, device))
        names = [name for name in ("classifier", *STAGES, "judge/classifier") if (folder / name).exists()]
        return {name: mean_seconds(folder / name, config, name) for name in names}


def shortened(config: Config) -> Config:
    """The settings with STEPS steps per stage; the discriminator joins in its share of those that count."""
    joins = 1 + round(config.tokenizer_training.gan_start * (STEPS - 1))
    tokenizer = replace(config.tokenizer_training, gan_start=joins / STEPS)
    return limit_steps(replace(config, tokenizer_training=tokenizer), STEPS)


def mean_seconds(folder: Path, config: Config, name: str) -> float:
    """Mean seconds per step according to speed.jsonl, without the first step, which is a warm-up."""
    settings = getattr(config, SETTINGS[Path(name).name])
    lines = (folder / "speed.jsonl").read_text("utf-8").splitlines()
    return statistics.mean(settings.batch_size / json.loads(line)["images_per_second"] for line in lines[1:] or lines)


def forecast(config: Config, per_step: Mapping[str, float]) -> str:
    """How long the whole training takes, as text; per_step: seconds per step by stage."""
    steps = {name: getattr(config, SETTINGS[Path(name).name]).steps for name in per_step}
    steps["judge/classifier"] = judge_settings(config).steps
    seconds = {name: steps[name] * per_step[name] for name in per_step}
    parts = ", ".join(f"{name.split('/')[0]} {duration(value)}" for name, value in seconds.items())
    total = duration(sum(seconds.values()))
    return f"training takes about {total} on this machine ({parts}), estimated from {STEPS} steps of each"
