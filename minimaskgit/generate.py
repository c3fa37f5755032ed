"""Generate images with a trained run: `python -m minimaskgit.generate --run runs/demo --label heart` (lesson 5)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit import cli, figures
from minimaskgit.config import DecodingConfig, ScheduleName, decoding_arguments
from minimaskgit.data import find_classes
from minimaskgit.decoding import Step, decode_steps
from minimaskgit.errors import UserError
from minimaskgit.precision import AnyPrecision
from minimaskgit.runs import Run, chosen_run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class Options:
    """What to generate; decoding settings left out are those of the run's configuration."""

    run: Path | None = None  # run folder, as made by python -m minimaskgit.train
    pretrained: str | None = None  # in place of --run: name of weights that come along, such as glyphs
    label: str | None = None  # class by name or number; default: one class after another
    count: int = 16  # images
    steps: int | None = None  # decoding steps T, 1 to the number of tokens
    schedule: ScheduleName | None = None  # mask schedule
    temperature: float | None = None  # of the choice noise at the first step; 0: always the surest tokens
    guidance: float | None = None  # classifier-free guidance weight; 0: none
    seed: int = 0  # the same seed gives the same images
    out: Path = Path("generated.png")  # picture to write
    gif: Path | None = None  # animation of the decoding to write
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # of matrix products; auto: the one that is fast here


def main(argv: Sequence[str] | None = None) -> None:
    """Generate a grid of images, and an animation if asked for."""
    options = cli.parse(Options, "Generate images with a trained run.", argv=argv)
    run = chosen_run(options.run, options.pretrained, options.device, options.precision)
    settings = decoding_settings(run.config.decoding, options)
    if options.count < 1:
        raise UserError(f"--count {options.count}: expected 1 or more images")
    labels = choose_labels(run, options.label, options.count)
    tokenizer, model = run.tokenizer(), run.transformer()
    check_steps(settings.steps, model.num_tokens)
    start = time.perf_counter()
    steps, images = generate(run, tokenizer, model, labels, settings, options.seed)
    seconds = time.perf_counter() - start
    titles = [run.label_names[label] for label in labels.tolist()]
    print(f"{options.count} images in {settings.steps} steps, {seconds:.2f} s")
    print(figures.save_png(figures.grid(images, titles=titles), options.out))
    if options.gif:
        print(figures.animation(decoding_frames(run, tokenizer, steps), options.gif, seconds_per_frame=0.4))


def decoding_settings(default: DecodingConfig, options: Options) -> DecodingConfig:
    """The run's decoding settings with those of the command line put in; UserError for impossible ones."""
    names = ("steps", "schedule", "temperature", "guidance")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    for name in ("temperature", "guidance"):
        if given.get(name, 0) < 0:
            raise UserError(f"--{name} {given[name]}: expected 0 or more")
    return replace(default, **given)


def check_steps(steps: int, num_tokens: int) -> None:
    """UserError unless 1 <= steps <= N: more steps than tokens would have nothing left to do."""
    if not 1 <= steps <= num_tokens:
        raise UserError(f"--steps {steps}: expected 1 to {num_tokens}, the number of tokens of an image")


def choose_labels(run: Run, label: str | None, count: int) -> Tensor:
    """`count` labels (B,): all of the class called `label`, or the classes in turn."""
    chosen = find_classes([label] if label is not None else (), run.label_names)
    return torch.tensor([chosen[i % len(chosen)] for i in range(count)], device=run.device)


@torch.no_grad()
def generate(
    run: Run, tokenizer: Tokenizer, model: Transformer, labels: Tensor, settings: DecodingConfig, seed: int
) -> tuple[list[Step], Tensor]:
    """All decoding steps and the final images (B, 3, H, W)."""
    generator = torch.Generator(run.device).manual_seed(seed)
    with run.autocast():
        steps = list(decode_steps(model, labels, **decoding_arguments(settings), generator=generator))
        return steps, tokenizer.decode(steps[-1].tokens)


@torch.no_grad()
def decoding_frames(run: Run, tokenizer: Tokenizer, steps: Sequence[Step]) -> list:
    """One picture a step, from the blank canvas on: what is fixed shows, what is masked is grey."""
    with run.autocast():
        images = [tokenizer.decode(step.sampled) for step in steps]
    blank = torch.ones_like(steps[0].masked)
    pairs = [(images[0], blank), *zip(images, (step.masked for step in steps))]
    return [figures.grid(figures.masked_canvas(image, masked, tokenizer.grid)) for image, masked in pairs]


if __name__ == "__main__":
    cli.run(main)
