"""The race: the decoding speed of MaskGIT and its autoregressive twin (lesson 6; paper figure 4).

Both have the same backbone, tokens and training. MaskGIT fills the canvas in T passes over all tokens; its twin needs N
passes of one new token each, with a key-value cache or, as in naive code, without. Only the generation of tokens is
timed: decoding them to pixels costs both sides the same. With --showdown the rivals join, and quality is measured too
(showdown.py).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit import autoregressive, figures
from minimaskgit.common.files import write_json
from minimaskgit.common.machine import machine
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.common.tables import text_table
from minimaskgit.common.timing import interleaved
from minimaskgit.measuring import showdown
from minimaskgit.measuring.samplers import generate
from minimaskgit.runs.choices import (
    AnyDecoderName,
    DecodingOptions,
    Loop,
    Unprefixed,
    check_steps,
    choose_labels,
    count_passes,
    decoding_loop,
    described,
    image_settings,
    note_decoder,
    passes_by_step,
)
from minimaskgit.runs.config import Batch, DecodingConfig, Positive, Samples, ScheduleName, Seed, between
from minimaskgit.runs.run import Run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.estimate import parameters
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class Options:
    """What to compare."""

    run: Path | None = None  # run folder; without a causal transformer the twin is left out; or give --pretrained
    pretrained: str | None = None  # instead of --run: packaged weights; results go to runs/pretrained/NAME
    steps: int | None = None  # decoding steps T of MaskGIT (default: the run's)
    schedule: ScheduleName | None = None  # mask schedule (default: the run's)
    # how to decode; maskgit is the paper's way (default: the policy searched for T, else the run's)
    decoder: AnyDecoderName | None = None
    decoding: Unprefixed = field(default_factory=DecodingOptions)
    batches: tuple[Batch, ...] = (1, 16)  # numbers of images generated at once
    repeats: Positive = 3  # timings of each, interleaved; the median counts
    shown: between(1, 64) = 8  # images in the picture and in the animation
    showdown: bool = False  # also compare with a GAN and a diffusion model, and measure quality; trains missing models
    samples: Samples = 2000  # images per model that the showdown scores
    seed: Seed = 0  # seed of the samples shown
    out: Path | None = None  # folder for compare.json and the pictures (default: RUN/compare or RUN/showdown)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # precision of matrix products; auto: the faster of bf16 and fp32 here


def folder_of(run_folder: Path, options: Options) -> Path:
    """Where the results go."""
    return options.out or run_folder / ("showdown" if options.showdown else "compare")


def decoding_of(run: Run, options: Options, num_tokens: int) -> DecodingConfig:
    """How MaskGIT decodes; UserError for options that cannot be used."""
    settings = image_settings(run, options)
    check_steps(settings.steps, num_tokens)
    return settings


def compare(run: Run, options: Options) -> dict:
    """Run the whole comparison and write its files; return the contents of compare.json."""
    tokenizer, masked = run.tokenizer(), run.transformer()
    causal = run.autoregressive() if run.has("autoregressive") else None
    settings = decoding_of(run, options, masked.num_tokens)
    note_decoder(settings)
    if causal is None:
        print(f"left out: the autoregressive twin, which {run.folder} does not have")
    folder = folder_of(run.folder, options)

    loop = decoding_loop(settings, run)
    rows = measure(run, contestants(masked, causal, loop, count_passes(settings)), options.batches, options.repeats)
    result = {
        "decoding": described(settings),
        "tokens": masked.num_tokens,
        "parameters": parameters(masked),
        "machine": machine(run.device),
        "rows": rows,
    }
    passes = passes_by_step(settings)
    tables, paths = [table(rows)], draw(run, tokenizer, masked, causal, loop, passes, rows, options, folder)
    if options.showdown:
        result["showdown"], more = showdown.showdown(
            run, showdown.Settings(options.samples, repeats=options.repeats, seed=options.seed), settings, folder
        )
        tables.append(showdown.table(result["showdown"]))
        paths += more
    write_json(folder / "compare.json", result)
    print(*tables, folder / "compare.json", *paths, sep="\n")  # last: whoever reads the output may have left
    return result


# A decoder generates tokens (B, N) from labels (B,).
Decoder = Callable[[Tensor], Tensor]


def contestants(
    masked: Transformer, causal: Transformer | None, loop: Loop, passes: int
) -> dict[str, tuple[int, Decoder]]:
    """The decoders by name, each with its number of forward passes; loop and passes: MaskGIT's."""
    own = {"MaskGIT": (passes, lambda labels: list(loop(masked, labels))[-1].tokens)}
    if causal is None:
        return own
    return own | {
        "autoregressive, cache": (causal.num_tokens, lambda labels: autoregressive.generate(causal, labels)),
        "autoregressive, no cache": (
            causal.num_tokens,
            lambda labels: autoregressive.generate(causal, labels, cache=False),
        ),
    }


def measure(run: Run, decoders: dict[str, tuple[int, Decoder]], batches: Sequence[int], repeats: int) -> list[dict]:
    """Measure a row for each decoder: its passes, and seconds and images per second at each batch size."""
    works = {
        (name, batch): partial(decoder, choose_labels(run, batch))
        for name, (_, decoder) in decoders.items()
        for batch in batches
    }
    with run.autocast():
        times = interleaved(works, repeats, run.device)
    rows = []
    for name, (passes, _) in decoders.items():
        medians = {batch: statistics.median(times[name, batch]) for batch in batches}
        speed = {str(b): {"seconds": s, "images_per_second": b / s} for b, s in medians.items()}
        rows.append({"decoder": name, "passes": passes, "batch": speed})
    return rows


def table(rows: Sequence[dict]) -> str:
    """The rows as text: passes, seconds and images per second at each batch size, and speed relative to the first."""
    batches = list(rows[0]["batch"])
    lines = [[row["decoder"], row["passes"]] for row in rows]
    for line, row in zip(lines, rows):
        for b in batches:
            speed, first = row["batch"][b], rows[0]["batch"][b]
            ratio = speed["images_per_second"] / first["images_per_second"]
            line += [f"{speed['seconds']:.3f}", f"{speed['images_per_second']:.2f}", f"x{ratio:.2f}"]
    return text_table(["decoder", "passes", *(h for b in batches for h in (f"batch {b}: s", "images/s", ""))], lines)


@torch.no_grad()
def draw(
    run: Run,
    tokenizer: Tokenizer,
    masked: Transformer,
    causal: Transformer | None,
    loop: Loop,
    passes: Sequence[int],
    rows: Sequence[dict],
    options: Options,
    folder: Path,
) -> list[Path]:
    """Write the still picture and the decoding strip, and with a twin the animation of the race.

    passes: of the masked transformer, for each step of its loop.
    """
    labels = choose_labels(run, options.shown)
    seeded = lambda: torch.Generator(run.device).manual_seed(options.seed)
    steps, images = generate(run, tokenizer, masked, labels, loop, seeded())
    with run.autocast():
        step_images = torch.stack([tokenizer.decode(step.sampled) for step in steps])  # (T, B, 3, H, W)
    masks = torch.stack([step.masked for step in steps])  # (T, B, N)
    batch = str(options.batches[-1])
    captions = {
        row["decoder"]: f"{row['decoder'].split(',')[0]}, {row['passes']} passes,"
        f" {1000 / row['batch'][batch]['images_per_second']:.0f} ms per image at batch {batch}"
        for row in rows
    }
    shown = {captions["MaskGIT"]: images}
    if causal is not None:
        with run.autocast():
            final = autoregressive.generate(causal, labels, generator=seeded())  # (B, N)
            raster_images = tokenizer.decode(final)
        shown[captions["autoregressive, cache"] + " with cache"] = raster_images
    strip = figures.decoding_strip(step_images[:, :2].transpose(0, 1), masks[:, :2].transpose(0, 1), tokenizer.grid)
    paths = [
        figures.save_png(figures.comparison(shown), folder / "compare.png"),
        figures.save_png(strip, folder / "decoding.png"),
    ]
    if causal is None:
        return paths
    count = final.shape[1]
    raster_masks = torch.arange(count)[None, None] >= torch.arange(1, count + 1)[:, None, None]  # (N, 1, N)
    raster_masks = raster_masks.expand(-1, len(labels), -1)  # after pass k the canvas shows the first k tokens
    pass_images = raster_images.cpu()[None].expand(count, -1, -1, -1, -1)
    own_images, own_masks = by_pass(step_images.cpu(), passes, 0.0), by_pass(masks.cpu(), passes, True)
    frames = figures.race(own_images, own_masks, pass_images, raster_masks, tokenizer.grid)
    return [*paths, figures.animation(frames, folder / "race.gif", seconds_per_frame=0.12)]


def by_pass(steps: Tensor, passes: Sequence[int], blank: float) -> Tensor:
    """What there is after each pass (P, ...), from what there is after each step (T, ...): `blank` before the first.

    passes: how many each step takes; it is done after the last of them.
    """
    ends = torch.tensor(passes).cumsum(0)
    done = torch.bucketize(torch.arange(1, int(ends[-1]) + 1), ends, right=True)  # steps
    return torch.cat([torch.full_like(steps[:1], blank), steps])[done]
