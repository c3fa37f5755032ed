"""A training session: the settings, folder, data and processes that all its stages share (lesson 9).

config, folder ──start_session──> Session ──micro_batches(step)──> images of this process ──> a stage's step
                                     └──fit──> loop.fit: report, save, stop, resume
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.common.machine import free_memory, peak_flops, peak_memory
from minimaskgit.common.precision import Precision, autocast, choose
from minimaskgit.data.images import ImageData, flip, mirror, shift, to_float
from minimaskgit.data.sources import load_data, summary
from minimaskgit.runs.config import Config, load_config, save_config
from minimaskgit.runs.models import is_finished, save_model
from minimaskgit.runs.origin import check_names, check_unchanged, locate, origin_of, remember
from minimaskgit.training.batches import Ahead, batch_indices, micro_batches
from minimaskgit.training.checkpoint import delete_checkpoints
from minimaskgit.training.estimate import Estimate, cuts_to_fit
from minimaskgit.training.loop import fit
from minimaskgit.training.processes import connect, main_decides
from minimaskgit.training.sharding import is_split

ONE_PROCESS = ("critic", "gan", "diffusion")  # stages that one process trains, on whole batches
COMPILERS = (os.environ.get("CXX", "c++"), "g++", "clang++")
ROOM = 0.8  # fraction of the free memory that an estimate may take, because it counts only tensors


@dataclass(frozen=True)
class Session:
    """What all stages of one training session share."""

    config: Config
    folder: Path
    accelerator: Accelerator
    train: ImageData
    valid: ImageData
    readers: dict[int, Ahead] = field(default_factory=dict)  # read images ahead, by batch size
    stop_at: int | None = None  # number of steps after which each stage is saved and stopped, if it is not done

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def autocast(self) -> torch.autocast:
        """A context that computes in the run's precision."""
        return autocast(self.device, self.config.precision)

    @cached_property
    def peak(self) -> float:
        """Operations per second of a plain matrix product on the device; measured on first use unless published."""
        return peak_flops(self.device, self.config.precision)

    def images(self, step: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """The step's training images, floats (B, 3, S, S) in [0, 1], and labels (B,), on the device."""
        images, labels = self.train.batch(batch_indices(len(self.train), batch_size, step, seed))
        images = flip(images) if self.config.images.flip else images
        return to_float(images.to(self.device)), labels.to(self.device)

    def indices(self, count: int, batch_size: int, step: int) -> Tensor:
        """Indices of the samples, out of `count`, that the step trains on, over all processes."""
        return batch_indices(count, batch_size, step, self.config.seed)

    def micro_batches(self, step: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `images`, but randomly cropped, and this process's share only, in micro-batches."""
        settings = self.config.images
        read = partial(self.read, batch_size)
        if self.device.type != "cpu":
            read = self.readers.setdefault(batch_size, Ahead(read))
        # Random numbers are drawn for the whole batch, so the number of micro-batches changes nothing.
        mirrored = torch.rand(batch_size) < 0.5
        moves = torch.randint(2 * settings.crop + 1, (batch_size, 2))
        for rows, (images, labels) in zip(micro_batches(batch_size, self.accelerator), read(step)):
            images = images.to(self.device, non_blocking=True)
            if settings.flip:
                images = mirror(images, mirrored[rows].to(self.device))
            images = to_float(images)
            if settings.crop:
                images = shift(images, moves[rows].to(self.device), settings.crop)
            yield images, labels.to(self.device)

    def read(self, batch_size: int, step: int) -> list[tuple[Tensor, Tensor]]:
        """This process's share of the step's images, uint8, and labels, in micro-batches, as stored in the data set."""
        chosen = self.indices(len(self.train), batch_size, step)
        found = [self.train.batch(chosen[rows]) for rows in micro_batches(batch_size, self.accelerator)]
        if self.device.type == "cuda":  # copies from pinned memory run in the background
            return [(images.pin_memory(), labels.pin_memory()) for images, labels in found]
        return found

    def prepare(self, model: nn.Module, compiled: bool = False) -> nn.Module:
        """Wrap a model for training: its gradients are averaged over all processes (DDP; FSDP if split).

        The wrapper shares its weights with the given model, which is the one to save and to draw with.
        """
        if self.accelerator.num_processes > 1 and not is_split(model):
            model = self.accelerator.prepare(model)
        return torch.compile(model) if compiled else model

    @property
    def splits(self) -> bool:
        """Whether transformers are split between processes."""
        return self.config.shard and self.accelerator.num_processes > 1

    def speed(self, batch_size: int, flops: float = 0.0) -> Callable[[float], dict[str, float]]:
        """A function from seconds per step to speeds, for steps of `batch_size` images and `flops` operations."""

        peak = self.peak * self.accelerator.num_processes if flops else 0.0  # measured now, not in the first report

        def speeds(seconds: float) -> dict[str, float]:
            values = {"images_per_second": batch_size / seconds, "peak_memory_gb": peak_memory(self.device) / 2**30}
            if flops:
                values["mfu"] = flops / seconds / peak
            return values

        return speeds

    def valid_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` validation images and labels, as `images`."""
        images, labels = self.valid.batch(torch.arange(min(count, len(self.valid))))
        return to_float(images.to(self.device)), labels.to(self.device)

    def fit(self, folder: Path, steps: int, train_step, parts, picture=None, **options) -> float:
        """`loop.fit` with the run's settings; returns the seconds spent on the stage."""
        config = self.config
        return fit(
            folder,
            steps,
            train_step,
            parts,
            seed=config.seed,
            report_every=config.report_every,
            save_every=config.save_every,
            picture_every=config.picture_every,
            picture=picture,
            keep=config.keep_checkpoints,
            accelerator=self.accelerator,
            stop_at=self.stop_at,
            **options,
        )


def start_session(
    config: Config, folder: Path, device: str = "auto", stages: Sequence[str] = (), home: Path | None = None
) -> Session:
    """Connect the processes, load the data and, in a new run, write config.json, labels.json and data.json.

    stages: those whose batches must be shared evenly between the processes.
    home: the run that the folder is a part of, whose data this is.
    UserError for settings that cannot work, and for data other than the run in the folder learned from.
    """
    accelerator = connect(device, config.accumulate)
    check_shares(config, stages, accelerator)
    config = replace(config, precision=settled_precision(config, folder, accelerator))
    if config.compile and not any(map(shutil.which, COMPILERS)):
        raise UserError(f"--compile needs a C++ compiler, one of {', '.join(COMPILERS)}; install one, or leave it out")
    images, place = config.images, locate(config.data, home or folder)
    columns = {"image_column": images.image_column, "label_column": images.label_column}
    train_data, valid_data = (
        load_data(
            place.source,
            split,
            image_size=images.size,
            num_images=count,
            classes=images.classes,
            seed=config.seed,
            **columns,
        )
        for split, count in (("train", images.count), ("valid", 2000))
    )
    if config.fd_samples and len(valid_data) < 2:
        raise UserError(
            f"--fd-samples {config.fd_samples}: the FD compares with validation images, and {config.data} has"
            f" {len(valid_data)}; expected 2 or more, or leave it out"
        )
    if home is None:  # otherwise the run has said it
        accelerator.print(summary(place.source, train_data, valid_data))
    origin = origin_of(config.data, place, folder, train_data, valid_data)

    def check_and_remember() -> None:
        check_names(home or folder, train_data.label_names, place)
        check_unchanged(folder, origin)
        remember(folder, config, origin)

    main_decides(accelerator, check_and_remember)
    return Session(config, folder, accelerator, train_data, valid_data)


def settled_precision(config: Config, folder: Path, accelerator: Accelerator) -> Precision:
    """The precision of a run: the saved one if it is resumed with "auto", otherwise the one asked for.

    The main process chooses for all processes.
    """

    def settle() -> Precision:
        saved = folder / "config.json"
        asked = load_config(saved).precision if config.precision == "auto" and saved.exists() else config.precision
        return choose(asked, accelerator.device)

    return main_decides(accelerator, settle)


def check_shares(config: Config, stages: Sequence[str], accelerator: Accelerator) -> None:
    """UserError if a batch cannot be shared evenly between the processes and their parts."""
    processes, parts = accelerator.num_processes, config.accumulate
    perceptual = ("classifier",) if config.tokenizer_training.perceptual_weight else ()
    tokenizer = (*perceptual, "tokenizer_training") if config.tokenizer_training.steps else ()
    shared = {"classifier": ("classifier",), "tokenizer": tokenizer} | dict.fromkeys(ONE_PROCESS, ())
    watched = ("classifier",) if config.fd_samples else ()
    for stage in stages:
        if stage in ONE_PROCESS and processes > 1:
            raise UserError(f"--stage {stage}: {processes} processes were started; expected 1")
        for name in (*watched, *shared.get(stage, ("transformer_training",))):
            if (batch_size := getattr(config, name).batch_size) % (processes * parts):
                raise UserError(
                    f"--{name.replace('_', '-')}.batch-size {batch_size} is over all processes: expected a multiple of"
                    f" {processes * parts}, which is processes ({processes}) times --accumulate ({parts})"
                )


def fit_into_memory(session: Session, found: Sequence[Estimate]) -> Session:
    """The session with batches cut into enough parts for the estimated memory to be free; prints what was changed."""
    config, accelerator = session.config, session.accelerator
    # Each process has a separate GPU, but all processes of a machine share its main memory.
    sharing = 1 if session.device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    here = torch.tensor([free_memory(session.device) / sharing], device=session.device)
    free = ROOM * float(accelerator.gather(here).min())
    cuts = cuts_to_fit(found, free, accelerator.num_processes * config.accumulate)
    config = replace(config, accumulate=cuts * config.accumulate)
    needed, largest = max((e.state + e.activations / cuts, e.stage) for e in found)
    parts = f"{config.accumulate} parts (--accumulate {config.accumulate})"
    needs, room = (f"{size / 2**30:.1f} GB" for size in (needed, free))
    if needed > free:
        accelerator.print(
            f"warning: {largest} needs {needs} by the estimate, even with each batch in {parts}; about {room} can be"
            " had here: try --recompute, a smaller width, or another machine"
        )
    elif cuts > 1:
        accelerator.print(f"  about {room} can be had here: each batch in {parts} takes {needs}")
    accelerator.gradient_accumulation_steps = config.accumulate
    if accelerator.is_main_process:
        save_config(config, session.folder / "config.json")
    return replace(session, config=config)


def finished(session: Session, folder: Path) -> bool:
    """Whether a stage's folder holds a finished model; if so, this is printed and leftover checkpoints are removed."""
    if is_finished(folder):
        session.accelerator.print(f"{folder}: trained already, kept")
        if session.accelerator.is_main_process:
            delete_checkpoints(folder)  # a kill just after the model was saved leaves them
        return True
    return False


def finish(session: Session, model: nn.Module, folder: Path, evaluate: Callable[[], dict]) -> nn.Module:
    """Evaluate and save the finished model, and remove its checkpoints; returns it in eval mode."""
    model.eval()
    if session.accelerator.is_main_process:
        evaluation = evaluate()
        write_json(folder / "evaluation.json", evaluation)
        print(f"{folder.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in evaluation.items()))
        save_model(model, folder)
        delete_checkpoints(folder)
    session.accelerator.wait_for_everyone()
    return model
