"""Edit a picture: `python -m minimaskgit.edit --run runs/demo --box 4,4,28,28 --dilate 0 --label heart` (lesson 7).

    --box or --mask + --label NAME     class edit: the region is repainted as another class
    --box or --mask + --inpaint        the region is filled as the picture's own class, or as no class if it is unknown
    --outpaint left,top,right,bottom   the picture is continued beyond its edges

Without --image a picture from the validation set is edited, or with --generated one that the run makes first. Box and
mask are in pixels of the given picture.
--released with --box and --label edits with the settings of the authors' demo; editing.py says what still differs.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.precision import DecodingPrecision
from minimaskgit.data.classes import find_classes
from minimaskgit.data.images import square, to_float
from minimaskgit.data.region import parse_margins, read_picture, region_of, resized_mask
from minimaskgit.decoders.named import DecoderName
from minimaskgit.editing import DILATE, START_STEP, STEPS, autoregressive_edit, composite, edit
from minimaskgit.figures.edits import Job, View, before_after, frames
from minimaskgit.measuring.pictures import to_bytes
from minimaskgit.measuring.samplers import generate
from minimaskgit.outpainting import outpaint_steps, windows
from minimaskgit.runs.checks import check_outputs, checked
from minimaskgit.runs.choices import (
    DecodingOptions,
    Unprefixed,
    check_steps,
    decoding_loop,
    decoding_settings,
    editing_options,
    given,
    note_decoder,
    watched,
)
from minimaskgit.runs.config import Count, Positive, ScheduleName, Seed, between
from minimaskgit.runs.origin import run_data
from minimaskgit.runs.presets import official
from minimaskgit.runs.run import Run, chosen_run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer

CANVAS_LIMIT = 2**24  # pixels of all outpainted canvases together: they are drawn enlarged, in some GB of memory
FRAME_LIMIT = 500  # frames of an animation
FILM_LIMIT = 2**28  # pixels of all frames together, as drawn: they are all in memory at once, and so are their parts
RELEASED = replace(official().decoding, steps=STEPS)  # how the authors' demo decodes


@dataclass(frozen=True)
class Options:
    """What to edit; decoding settings that are not given come from the run's configuration."""

    run: Path | None = None  # run folder, made by python -m minimaskgit.train; or give --pretrained
    pretrained: str | None = None  # instead of --run: weights that come with the package, such as glyphs
    image: Path | None = None  # picture to edit, resized and centre-cropped to the run's size (default: see --sample)
    sample: between(0, 99_999) = 0  # number of the validation picture to edit if there is no --image
    generated: str | None = None  # edit a picture generated first, of this class, by name or number
    box: str | None = None  # region to paint as x0,y0,x1,y1 in pixels of the picture, x1 and y1 excluded
    mask: Path | None = None  # region to paint as a picture of the same size, white where to paint
    outpaint: str | None = None  # pixels to add at left,top,right,bottom, counted after resizing
    label: str | None = None  # class to paint, by name or number
    inpaint: bool = False  # paint the picture's own class, or no class if it is unknown
    count: between(1, 64) = 4  # number of edits
    steps: Positive = STEPS  # decoding steps T
    start_step: Count = START_STEP  # decoding step to start at
    dilate: between(0, 256) = DILATE  # tokens by which the region grows on each side
    stride: Positive | None = None  # tokens from one window to the next when outpainting (default: half a window)
    schedule: ScheduleName | None = None  # mask schedule (default: the run's)
    decoder: DecoderName | None = None  # how to decode; maskgit is the paper's way (default: the run's)
    decoding: Unprefixed = field(default_factory=DecodingOptions)
    released: bool = False  # edit as the authors' demo does, with its settings instead of the run's
    rival: bool = False  # also show the autoregressive twin's edits of the same region
    seed: Seed = 0  # seed of all random numbers; the same seed makes the same edits
    out: Path = Path("edit.png")  # before/after picture to write
    gif: Path | None = None  # animation of the decoding to write (default: none)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: DecodingPrecision = "auto"  # of matrix products; auto: the faster of bf16 and fp32


def main(argv: Sequence[str] | None = None) -> None:
    """Edit a picture; write a before/after picture, and an animation with --gif."""
    options = checked(cli.parse(Options, "edit", argv=argv))
    check(options)
    if options.released:
        check_released(options)
    run = chosen_run(options.run, options.pretrained, options.device, options.precision)
    settings = decoding_settings(run, vars(RELEASED) if options.released else given(options))
    job = prepare(run, options)
    tokenizer, model = run.tokenizer(), run.transformer()
    twin = run.autoregressive() if options.rival else None
    check_steps(options.steps, model.num_tokens)
    if not options.released:  # which has said so already
        note_decoder(settings)

    images = job.image.to(run.device).expand(options.count, -1, -1, -1)
    labels = torch.full((options.count,), job.label, device=run.device)
    how = editing_options(run, settings, options.seed) | {"start_step": options.start_step, "dilate": options.dilate}
    view = View.of(job, tokenizer.downsampling)
    with run.autocast(), torch.no_grad():
        if job.margins:
            how["stride"] = options.stride
            count = outpainting_steps(tokenizer, view, options)
            canvases = outpaint_steps(tokenizer, model, images, view.rounded, labels, **how)
            canvases = tqdm(canvases, "outpainting", count, unit="step", dynamic_ncols=True, leave=False)
            stages = ((canvas.images, canvas.tokens == model.mask_id) for canvas in canvases)
            stages = [next(stages), *(stages if options.gif else deque(stages, 1))]  # the others take too much memory
        else:
            count = options.steps - options.start_step
            check_film(images.numel() // 3 * view.scale**2, count, options)
            with tqdm(desc="editing", total=count, unit="step", dynamic_ncols=True, leave=False) as bar:
                how["loop"] = watched(how["loop"], bar.update)
                result = edit(tokenizer, model, images, job.mask, labels, **how)
            earlier = result.steps[:-1] if options.gif else []
            drawn = ((composite(tokenizer, images, step.sampled, result.region), step.masked) for step in earlier)
            stages = [(images, result.region), *drawn, (result.images, result.steps[-1].masked)]
        rows = [("MaskGIT sees", view.veiled(*stages[0])[:1], view.veiled(*stages[-1]))]
        if twin:
            hidden, edited = rival_edits(twin, tokenizer, images, stages[0][1], labels, options.seed)
            rows.append(("its twin sees", view.veiled(images[:1], hidden[:1]), view.enlarged(edited)))
    if stages[0][1].all():
        hint = "; a smaller --dilate shrinks it" if options.dilate else ""
        print(f"note: the region covers all {stages[0][1][0].numel()} tokens, so nothing of the picture is kept{hint}")
    print(figures.save_picture(before_after(view.before(job), rows, job.heading), options.out))
    if options.gif:
        print(figures.animation(frames(view, job, stages), options.gif, seconds_per_frame=0.3))


def outpainting_steps(tokenizer: Tokenizer, view: View, options: Options) -> int:
    """How many steps outpainting by whole tokens takes at most; UserError if it would exhaust the memory."""
    f, grid = tokenizer.downsampling, tokenizer.grid
    left, top, right, bottom = (margin // f for margin in view.rounded)
    rows, columns = canvas = top + grid + bottom, left + grid + right
    pixels = options.count * rows * columns * f * f
    if pixels > CANVAS_LIMIT:
        size = f"{options.count} canvases of {columns * f}x{rows * f} pixels"
        raise UserError(f"--outpaint {options.outpaint}: {size}; expected {CANVAS_LIMIT} pixels or fewer in all")
    stride = options.stride or max(1, grid // 2)
    if stride > grid:
        raise UserError(f"--stride {stride}: expected 1 to {grid} tokens, or windows would leave gaps")
    steps = len(windows((top, left), canvas, grid, stride)) * (options.steps - options.start_step)
    if options.gif and steps > FRAME_LIMIT:
        raise UserError(f"--gif: {steps} steps of outpainting; expected {FRAME_LIMIT} or fewer: leave it out")
    check_film(pixels * view.scale**2, steps, options)
    return 1 + steps


def check_film(pixels: int, steps: int, options: Options) -> None:
    """UserError if an animation with so many pixels in each frame would exhaust the memory."""
    if options.gif and pixels * steps > FILM_LIMIT:
        needed = f"{steps} frames of {options.count} pictures have {pixels * steps / 1e6:,.0f} million pixels"
        raise UserError(
            f"--gif: {needed}; expected {FILM_LIMIT / 1e6:.0f} or fewer: a smaller --count, or leave it out"
        )


def rival_edits(
    twin: Transformer, tokenizer: Tokenizer, images: Tensor, region: Tensor, labels: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Edit with the autoregressive twin: the tokens unseen at its first new token, bool (B, N), and its edits."""
    generator = torch.Generator(images.device).manual_seed(seed)
    tokens = autoregressive_edit(twin, tokenizer.encode(images), region, labels, generator)
    return region.cumsum(1) > 0, composite(tokenizer, images, tokens, region)


def check_released(options: Options) -> None:
    """Print the settings of the authors' demo; UserError if an option contradicts them."""
    if options.box is None or options.inpaint:
        other = "--inpaint" if options.inpaint else "--outpaint" if options.outpaint else "--mask"
        raise UserError(f"--released repaints a --box as a class, as the authors' demo does; leave out {other}")
    sets = vars(RELEASED) | {"start_step": START_STEP, "dilate": DILATE}
    named = given(options) | {"start_step": options.start_step, "dilate": options.dilate}
    for name, value in named.items():
        if value != sets[name]:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} {value}: --released sets {sets[name]}; leave out {option} or --released")
    print(f"released: {', '.join(f'{name} {value}' for name, value in sets.items())}")


def check(options: Options) -> None:
    """Raise UserError for invalid options or combinations of options."""
    regions = [f"--{name}" for name in ("box", "mask", "outpaint") if getattr(options, name) is not None]
    if len(regions) != 1:
        both = f"{regions[0]} and {regions[1]} are both given; " if regions else ""
        raise UserError(f"{both}expected exactly one of --box, --mask and --outpaint, the region to paint")
    pictures = [f"--{name}" for name in ("image", "generated", "sample") if getattr(options, name) not in (None, 0)]
    if len(pictures) > 1:
        both = f"{pictures[0]} and {pictures[1]} are both given"
        raise UserError(f"{both}; expected at most one of --image, --generated and --sample, the picture to edit")
    if options.label is None and not options.inpaint and (options.image is not None or not options.outpaint):
        other = "to keep the picture's own class" if options.image is None else "to paint without one"
        raise UserError(f"expected --label NAME, the class to paint, or --inpaint, {other}")
    if options.stride is not None and options.outpaint is None:
        raise UserError(f"--stride {options.stride}: only --outpaint paints window by window; leave it out")
    if options.start_step >= options.steps:
        raise UserError(f"--steps {options.steps}: expected more than --start-step, which is {options.start_step}")
    if options.rival and options.outpaint:
        raise UserError("--rival: the autoregressive twin cannot paint to the left or above; leave out --outpaint")
    figures.check_formats({"--out": options.out}, {"--gif": options.gif})
    check_outputs({"--out": options.out, "--gif": options.gif}, {"--image": options.image, "--mask": options.mask})


# --- Reading the user's picture, region and class ---


def prepare(run: Run, options: Options) -> Job:
    """Read picture, region and class; print what was chosen or changed."""
    size, names = run.config.images.size, run.label_names
    chosen = None if options.label is None else find_classes([options.label], names)[0]
    if options.image is not None:
        picture, own = read_picture(options.image), None
        if picture.size != (size, size):
            print(f"{options.image}: {picture.width}x{picture.height}, resized and centre-cropped to {size}x{size}")
    elif options.generated is not None:
        picture, own = generated_picture(run, options.generated, options.seed)
        print(f"picture: generated, class {names[own]}")
    else:
        picture, own = validation_picture(run, options.sample)
        print(f"picture: number {options.sample} of the validation set, class {names[own]}")
    label = next(each for each in (chosen, own, len(names)) if each is not None)
    if label == len(names) and run.config.transformer_training.class_dropout == 0:
        print("note: this run was always trained with a class; without one its results are poor")
    margins = parse_margins(options.outpaint) if options.outpaint else None
    if margins:
        mask = torch.zeros(size, size, dtype=torch.bool)
    else:
        mask = resized_mask(region_of(picture, options.box, options.mask), size)
    titles = [*figures.class_titles(names), "no class"]
    before = "" if own is None else f"{titles[own]} "
    what = "outpainted as" if margins else "inpainted as" if label in (own, len(names)) or options.inpaint else "to"
    heading = f"{before}{what} {titles[label]}"
    heading = heading[0].upper() + heading[1:]
    return Job(to_float(torch.from_numpy(square(picture, size))), mask, margins, label, heading)


def generated_picture(run: Run, name: str, seed: int) -> tuple[Image.Image, int]:
    """A picture that the run generates with its own settings, and its class."""
    (label,) = find_classes([name], run.label_names)
    generator = torch.Generator(run.device).manual_seed(seed)
    loop = decoding_loop(run.config.decoding, run)
    labels = torch.tensor([label], device=run.device)
    (made,) = generate(run, run.tokenizer(), run.transformer(), labels, loop, generator)[1]
    return Image.fromarray(to_bytes(made).permute(1, 2, 0).numpy()), label


def validation_picture(run: Run, number: int) -> tuple[Image.Image, int]:
    """Load a picture from the run's validation set, and its class."""
    data = run_data(run, "valid", number + 1)
    if number >= len(data):
        raise UserError(f"--sample {number}: the validation set has pictures 0 to {len(data) - 1}")
    pixels, label = data[number]
    return Image.fromarray(pixels.permute(1, 2, 0).numpy()), label


if __name__ == "__main__":
    cli.run(main)
