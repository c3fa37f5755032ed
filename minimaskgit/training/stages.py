"""Training of all stages in order, into one run folder.

classifier ──perceptual loss──> tokenizer ──tokens──> masked transformer
                                         │      └───> critic, on its features
                                         └──tokens──> causal transformer (the baseline)
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from minimaskgit.common.errors import UserError
from minimaskgit.rivals.gan import smallest_side
from minimaskgit.runs.checks import check, home
from minimaskgit.runs.config import Config, first_difference, load_config, save_config
from minimaskgit.runs.models import is_finished, training_command
from minimaskgit.runs.run import check_outside_of_package
from minimaskgit.training.checkpoint import checkpoints, steps_done
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.critic import train_critic
from minimaskgit.training.estimate import UTILISATION, Estimate, estimates, table
from minimaskgit.training.initial import checked_source, lacks_source, take
from minimaskgit.training.lock import locked
from minimaskgit.training.loop import StoppedEarly
from minimaskgit.training.processes import connect, main_decides
from minimaskgit.training.rivals import train_diffusion, train_gan
from minimaskgit.training.session import (
    Session,
    finish,
    finished,
    fit_into_memory,
    start_session,
)
from minimaskgit.training.tokenizer import train_tokenizer
from minimaskgit.training.transformer import train_transformer

Stage = Literal["tokenizer", "transformer", "autoregressive", "critic", "gan", "diffusion"]
STAGES: tuple[Stage, ...] = ("tokenizer", "transformer", "autoregressive")  # --stage all
NEEDS = {"transformer": ("tokenizer",), "autoregressive": ("tokenizer",), "critic": ("tokenizer", "transformer")}
DRAWN = ("transformer", "autoregressive", "gan", "diffusion")  # stages that draw samples as they go
SUITS_MACHINE = ("accumulate", "compile", "recompute", "shard")  # settings that change a result only by rounding
RIVALS = {"gan": train_gan, "diffusion": train_diffusion}
SETTINGS = {  # name of each stage's training settings in Config
    "classifier": "classifier",
    "tokenizer": "tokenizer_training",
    "transformer": "transformer_training",
    "autoregressive": "transformer_training",
    "critic": "critic_training",
    "gan": "gan_training",
    "diffusion": "diffusion_training",
}


def train(
    config: Config,
    folder: Path,
    stages: Sequence[Stage] = STAGES,
    resume: bool = False,
    device: str = "auto",
    estimate: bool = False,
    stop_at: int | None = None,
) -> bool:
    """Train the stages one after another into a run folder; returns whether all of them are finished.

    resume: continue the run in the folder, whose settings must be the same except for larger numbers of steps.
    estimate: first print the time and memory they need, and cut a new run's batches into parts that fit into memory.
    stop_at: number of steps after which each stage is saved and stopped, so that it can be resumed.
    UserError for impossible settings, and rather than overwriting a run or mixing two.
    """
    check(config)
    for stage in set(stages) & set(RIVALS):
        check_rival(config, stage)
    if not (config.tokenizer_training.steps or is_finished(folder / "tokenizer")):
        stages = tuple(dict.fromkeys(["tokenizer", *stages]))  # kept as it is, it is there for every stage
    accelerator = connect(device)
    with locked(folder, accelerator):
        main_decides(accelerator, lambda: check_folder(config, folder, stages, resume))
        main_decides(accelerator, lambda: check_shapes(config, folder))
        main_decides(accelerator, lambda: check_needs(folder, stages))
        main_decides(accelerator, lambda: check_start(config, folder, stages))
        try:
            return train_stages(config, folder, stages, resume, device, estimate, stop_at)
        except KeyboardInterrupt as stop:
            if str(stop) or not (folder / "config.json").exists():  # which is written once the data are read
                raise
            kept = f"what {folder} holds is kept; to resume, run it again (train: with --resume)"
            raise KeyboardInterrupt(kept) from None


def train_stages(
    config: Config,
    folder: Path,
    stages: Sequence[Stage],
    resume: bool,
    device: str,
    estimate: bool,
    stop_at: int | None,
) -> bool:
    """As `train`, in a folder that is locked and checked."""
    untrained = [stage for stage in stages if not is_finished(folder / stage)]
    session = replace(start_session(config, folder, device, untrained), stop_at=stop_at)
    main_decides(session.accelerator, lambda: take(session) if lacks_source(config, folder, stages) else None)
    if resume and session.accelerator.is_main_process:
        extend(config, folder)
    processes = session.accelerator.num_processes
    if estimate and (found := estimates(session.config, session.train.num_classes, untrained, processes)):
        if session.accelerator.is_main_process:
            print(table(remaining(found, folder), session.peak, UTILISATION[session.config.precision], processes))
        begun = any(checkpoints(folder / stage) for stage in ("classifier", *untrained))
        if not (resume and begun):  # a stage that has begun keeps its parts: others would round differently
            session = fit_into_memory(session, found)
    stopped = []
    for stage in stages:
        try:
            train_stage(session, stage)
        except StoppedEarly as stop:
            session.accelerator.print(stop)
            stopped.append(stage)
            if stage == "tokenizer":  # the transformers need a finished one
                break
    return not stopped


def remaining(found: Sequence[Estimate], folder: Path) -> list[Estimate]:
    """The estimates of what is left to train in a run's folder: without finished stages, and without steps done."""
    unfinished = [e for e in found if not is_finished(folder / e.stage)]
    return [replace(e, steps=max(0, e.steps - steps_done(folder / e.stage))) for e in unfinished]


def train_stage(session: Session, stage: Stage) -> None:
    """Train one stage unless its model is finished already; first the network of its samples' FD, if it is missing."""
    if session.config.fd_samples and stage in DRAWN and not is_finished(session.folder / "classifier"):
        train_classifier(session)
    if stage == "tokenizer":
        train_tokenizer(session)
    elif stage in RIVALS:
        train_rival(session, stage)
    elif stage == "critic":
        train_critic(session)
    else:
        train_transformer(session, causal=stage == "autoregressive")


def check_start(config: Config, folder: Path, stages: Sequence[Stage]) -> None:
    """UserError if the run in the folder still needs weights to start from, and cannot start from those."""
    if lacks_source(config, folder, stages):
        source = checked_source(config)
        check_shapes(load_config(source / "config.json"), source)


def check_needs(folder: Path, stages: Sequence[Stage]) -> None:
    """UserError, before anything is written, if a stage needs a model that is neither there nor trained before it."""
    for stage in stages:
        for needed in () if is_finished(folder / stage) else NEEDS.get(stage, ()):
            if needed not in stages and not is_finished(folder / needed):
                command = training_command(folder / needed)
                command = command if (folder / "config.json").exists() else command.removesuffix(" --resume")
                raise UserError(f"--stage {stage}: no trained {needed} in {folder / needed}; train it with {command}")


def check_folder(config: Config, folder: Path, stages: Sequence[Stage], resume: bool) -> None:
    """UserError rather than overwriting a run or mixing two; a run is resumed only with the same settings."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; expected a folder, or a name that is free")
    check_outside_of_package("--out", folder)
    if resume and not (folder / "config.json").exists():
        raise UserError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    if resume:
        return check_resumed(config, folder)
    if not (folder / "config.json").exists():
        data = home(config.data)
        inside = data.is_dir() and config.data != "glyphs" and folder.resolve().is_relative_to(data.resolve())
        if inside and not any(data.rglob("*.parquet")):  # a folder of images
            raise UserError(f"--out {folder} lies in --data {data}, whose images the run's would join; choose another")
        return
    there = replace(load_config(folder / "config.json"), accumulate=config.accumulate)  # may be cut to fit memory
    if difference := first_difference(there, config):
        raise UserError(
            f"{folder} holds another run ({difference}); --resume takes that run's settings, or choose another --out"
        )
    for stage in stages:
        if is_finished(folder / stage) or checkpoints(folder / stage):
            raise UserError(f"{folder / stage} already exists; --resume continues it, or choose another --out")


def check_shapes(config: Config, folder: Path) -> None:
    """UserError if finished models have other shapes than the settings, which are then those of another run.

    Of the tokenizer only the image size counts: you may put one from elsewhere into a run.
    """
    shapes = {"tokenizer": {"image_size": config.images.size}}
    shapes |= dict.fromkeys(("transformer", "autoregressive"), asdict(config.transformer))
    for stage, shape in shapes.items():
        try:
            trained = json.loads((folder / stage / "config.json").read_text("utf-8"))
        except (OSError, ValueError):  # not trained yet; or damaged, as loading it will say
            continue
        for name, value in json.loads(json.dumps(shape)).items():
            if trained.get(name, value) != value:
                raise UserError(
                    f"{folder / stage} was trained with {name} {trained[name]}, but the settings say {value}: {folder}"
                    " holds another run, or another run's config.json; choose another --out, or bring its own back"
                )


def check_resumed(config: Config, folder: Path) -> None:
    """UserError for other settings than those of the run in the folder, except for more steps of unfinished stages.

    What suits the machine may differ, because the machine may: `SUITS_MACHINE`. So may the place of the data:
    `start_session` compares what is there.
    """
    saved = load_config(folder / "config.json")
    free = {name: getattr(config, name) for name in (*SUITS_MACHINE, "data")}
    same = replace(with_steps_of(saved, config), **free)
    if difference := first_difference(same, config):
        raise UserError(
            f"--resume: {folder} holds another run ({difference}); leave that setting out, or choose another --out"
        )
    for stage, name in SETTINGS.items():
        before, asked = getattr(saved, name).steps, getattr(config, name).steps
        option = f"--{name.replace('_', '-')}.steps {asked}"
        if asked < before:
            raise UserError(f"{option}: {folder} is a run of {before}; expected {before} or more, or use --max-steps")
        if asked > before and is_finished(folder / stage):
            raise UserError(
                f"{option}: {folder / stage} is finished after {before} steps and cannot be extended;"
                " choose another --out"
            )


def with_steps_of(config: Config, other: Config) -> Config:
    """The settings with the numbers of training steps of `other`."""
    names = dict.fromkeys(SETTINGS.values())
    return replace(config, **{name: replace(getattr(config, name), steps=getattr(other, name).steps) for name in names})


def extend(config: Config, folder: Path) -> None:
    """Write the numbers of training steps into the run's settings, if they are more than before."""
    saved = load_config(folder / "config.json")
    if (extended := with_steps_of(saved, config)) != saved:
        save_config(extended, folder / "config.json")


def check_rival(config: Config, stage: Stage) -> None:
    """UserError if a rival's shape does not fit the images."""
    shape = getattr(config, stage)
    try:
        smallest_side(config.images.size, shape.patch, len(shape.multipliers))
    except ValueError as error:
        raise UserError(f"--{stage}: {error}; expected fewer --{stage}.multipliers, or another size") from None
    if stage == "diffusion" and shape.width % 8:
        raise UserError(f"--diffusion.width {shape.width}: expected a multiple of 8, the number of groups of its norms")


def train_rival(session: Session, stage: Stage) -> None:
    """Train a GAN or a diffusion model directly on the pixels."""
    folder = session.folder / stage
    if not finished(session, folder):
        model, evaluation = RIVALS[stage](session, folder)
        finish(session, model, folder, lambda: evaluation)


def limit_steps(config: Config, steps: int) -> Config:
    """The same settings with at most `steps` training steps per stage, and only as many images as these need.

    If the run reports an FD, it uses no more samples than steps, but at least two: drawing them must not take longer
    than training.
    """
    if steps < 1:
        raise UserError(f"--max-steps {steps}: expected 1 or more")
    parts = {name: getattr(config, name) for name in SETTINGS.values()}
    parts = {name: replace(settings, steps=min(steps, settings.steps)) for name, settings in parts.items()}
    needed = max(settings.steps * settings.batch_size for settings in parts.values())
    count = needed if config.images.count is None else min(needed, config.images.count)
    samples = min(config.fd_samples, max(2, steps))
    return replace(config, **parts, images=replace(config.images, count=count), fd_samples=samples)
