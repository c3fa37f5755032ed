"""Generate images with a trained run: `python -m minimaskgit.generate --run runs/demo --label heart` (lesson 5)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.precision import DecodingPrecision
from minimaskgit.data.splits import counted
from minimaskgit.decoding import Step
from minimaskgit.measuring.pictures import BATCH, at_once, to_bytes
from minimaskgit.measuring.samplers import generate
from minimaskgit.runs.checks import check_outputs, checked
from minimaskgit.runs.choices import (
    AnyDecoderName,
    DecodingOptions,
    Unprefixed,
    check_steps,
    choose_labels,
    decoding_loop,
    image_settings,
    note_decoder,
    watched,
)
from minimaskgit.runs.config import ScheduleName, Seed, between
from minimaskgit.runs.run import Run, chosen_run
from minimaskgit.tokenizer import Tokenizer

LARGEST = 3600  # images of a grid, 60 x 60, which takes half a GB of memory when they have 32 x 32 pixels


@dataclass(frozen=True)
class Options:
    """What to generate; decoding settings that are not given come from the run's configuration."""

    run: Path | None = None  # run folder, made by python -m minimaskgit.train; or give --pretrained
    pretrained: str | None = None  # instead of --run: weights that come with the package, such as glyphs
    label: tuple[str, ...] = ()  # one or more classes by name or number, in turn (default: all)
    count: between(1, LARGEST) = 16  # number of images
    steps: int | None = None  # decoding steps T, 1 to the number of tokens (default: the run's)
    schedule: ScheduleName | None = None  # mask schedule (default: the run's)
    # how to decode; maskgit is the paper's way (default: the policy searched for T, else the run's)
    decoder: AnyDecoderName | None = None
    decoding: Unprefixed = field(default_factory=DecodingOptions)
    seed: Seed = 0  # seed of all random numbers; the same seed makes the same images
    out: Path = Path("generated.png")  # picture to write
    gif: Path | None = None  # animation of the decoding to write (default: none)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: DecodingPrecision = "auto"  # of matrix products; auto: the faster of bf16 and fp32


def main(argv: Sequence[str] | None = None) -> None:
    """Generate a grid of images, and an animation with --gif."""
    options = checked(cli.parse(Options, "generate", argv=argv))
    figures.check_formats({"--out": options.out}, {"--gif": options.gif})
    check_outputs({"--out": options.out, "--gif": options.gif})
    if options.gif and options.count > BATCH:
        raise UserError(f"--gif shows every image in every frame: expected --count {BATCH} or less")
    run = chosen_run(options.run, options.pretrained, options.device, options.precision)
    settings = image_settings(run, options)
    labels = choose_labels(run, options.count, options.label)
    tokenizer, model = run.tokenizer(), run.transformer()
    check_steps(settings.steps, model.num_tokens)
    note_decoder(settings)
    loop = decoding_loop(settings, run)
    start, images, batches = time.perf_counter(), [], []
    generator = torch.Generator(run.device).manual_seed(options.seed)
    parts = labels.split(at_once(run))
    total = len(parts) * (settings.steps + 1)  # the tokenizer's decoder takes about as long as a step
    with tqdm(total=total, desc="generating", unit="step", dynamic_ncols=True, leave=False) as bar:
        for part in parts:
            steps, made = generate(run, tokenizer, model, part, watched(loop, bar.update), generator)
            images.append(to_bytes(made))
            batches.append(steps)
            bar.update()
    seconds = time.perf_counter() - start
    names = figures.class_titles(run.label_names)
    titles = [names[label] for label in labels.tolist()]
    written = [figures.save_picture(figures.grid(torch.cat(images), titles=titles), options.out)]
    if options.gif:
        steps = [Step(*map(torch.cat, zip(*parts))) for parts in zip(*batches)]
        written.append(figures.animation(decoding_frames(run, tokenizer, steps), options.gif, seconds_per_frame=0.4))
    what = f"{counted(options.count, 'image')} in {counted(settings.steps, 'step')}"
    print(f"{what}, {seconds:.2f} s", *written, sep="\n")  # last: whoever reads the output may have left


@torch.no_grad()
def decoding_frames(run: Run, tokenizer: Tokenizer, steps: Sequence[Step]) -> list:
    """Draw the blank canvas and then one frame per step, with masked tokens in grey."""
    with run.autocast():
        images = [tokenizer.decode(step.sampled) for step in steps]
    blank = torch.ones_like(steps[0].masked)
    pairs = [(images[0], blank), *zip(images, (step.masked for step in steps))]
    return [figures.grid(figures.masked_canvas(image, masked, tokenizer.grid)) for image, masked in pairs]


if __name__ == "__main__":
    cli.run(main)
