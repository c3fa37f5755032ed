"""How long training will take here, by a few real steps of every stage, timed in a folder that is thrown away.

settings ──5 steps a stage──> seconds a step ──times the steps──> seconds a stage, before training starts
"""

import contextlib
import io
import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from minimaskgit.common.timing import duration
from minimaskgit.runs.config import Config
from minimaskgit.runs.run import open_run
from minimaskgit.training.judge import judge_settings, load_judge
from minimaskgit.training.stages import SETTINGS, STAGES, limit_steps, train

STEPS = 5  # of each stage: with the demo's gan_start of 0.8 the discriminator plays in its share of them


def seconds_a_step(config: Config, device: str = "auto") -> dict[str, float]:
    """Of the classifier, each stage of MaskGIT and its twin, and the judge that the demo trains."""
    unsaid = contextlib.redirect_stdout(io.StringIO())  # paths that are about to be gone; bars and warnings are shown
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as aside, unsaid:
        folder = Path(aside)
        train(replace(limit_steps(config, STEPS), report_every=1), folder, STAGES, device=device)
        load_judge(open_run(folder, device))
        names = [name for name in ("classifier", *STAGES, "judge/classifier") if (folder / name).exists()]
        return {name: mean_of(folder / name, config, name) for name in names}


def mean_of(folder: Path, config: Config, name: str) -> float:
    """Seconds a step by speed.jsonl, without the first step, which also sets things up."""
    settings = getattr(config, SETTINGS[Path(name).name])
    lines = (folder / "speed.jsonl").read_text("utf-8").splitlines()
    return statistics.mean(settings.batch_size / json.loads(line)["images_per_second"] for line in lines[1:] or lines)


def forecast(config: Config, a_step: Mapping[str, float]) -> str:
    """How long the whole training takes, as text."""
    steps = {name: getattr(config, SETTINGS[Path(name).name]).steps for name in a_step}
    steps["judge/classifier"] = judge_settings(config).steps
    seconds = {name: steps[name] * a_step[name] for name in a_step}
    parts = ", ".join(f"{name.split('/')[0]} {duration(value)}" for name, value in seconds.items())
    return f"training takes about {duration(sum(seconds.values()))} on this machine ({parts}), by {STEPS} steps of each"
