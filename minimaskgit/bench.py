"""Measure decoding and training speed: `make bench` (lesson 9).

The weights are untrained, because speed does not depend on them. Two transformer shapes are measured: the demo's, and
one of width 256 with 8 layers on 256 tokens of 1024 codes; on a GPU also that of `--full`. The tokenizers of the demo
and of `--preset tiny-imagenet` are measured as plain autoencoders, without classifier and discriminator. For comparison
across machines, speeds are also reported as ratios within a run, next to the machine's own matrix product.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from minimaskgit import autoregressive
from minimaskgit.adversary import vqgan_losses
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.common.machine import described, machine, matmul, pick_device, published_peak
from minimaskgit.common.precision import DTYPES, Precision, autocast, choose, fast_precision, speed_text
from minimaskgit.common.timing import interleaved
from minimaskgit.decoding import decode
from minimaskgit.masking import draw_masks, mvtm_loss
from minimaskgit.measuring.graphed import GraphedDecoder
from minimaskgit.runs.checks import check_outputs, checked
from minimaskgit.runs.config import Batch, Config, Positive, TransformerConfig, between
from minimaskgit.runs.presets import demo, full, tiny_imagenet
from minimaskgit.schedules import cosine
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training import rehearsal
from minimaskgit.training.estimate import parameters, transformer_flops
from minimaskgit.training.optimizers import make_optimizers
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class Shape:
    """A transformer and its tokens."""

    num_codes: int  # K
    num_tokens: int  # N
    transformer: TransformerConfig


SHAPES = {
    "demo": Shape(256, 64, Config().transformer),
    "256 tokens": Shape(1024, 256, TransformerConfig(width=256, depth=8, heads=8, mlp_width=1024)),
}
ON_GPU = {"full": Shape(1024, 256, full().transformer)}
TOKENIZERS = {"demo": demo(), "64 x 64": tiny_imagenet()}
CLASSES = 1000  # at least the batch size, so that no two samples have the same class and share their first pass


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out: Path | None = None  # JSON file for the results (default: runs/bench/MACHINE.json)
    batches: tuple[Batch, ...] = (1, 16)  # batch sizes: images generated at once
    train_batch: Batch = 32  # images per training step
    steps: between(1, 64) = 8  # decoding steps T
    repeats: Positive = 5  # timings of each measurement, interleaved; the median counts
    precisions: tuple[Precision, ...] = ()  # precisions of matrix products (default: fp32, and bf16 if fast here)
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    options = checked(cli.parse(Options, "bench", argv=argv))
    if not options.batches:
        raise UserError("--batches: expected one or more numbers of images")
    device = pick_device(options.device)
    for precision in options.precisions:
        choose(precision, device)  # warns if it is slow here
    options = replace(options, precisions=options.precisions or tuple(dict.fromkeys((fast_precision(device), "fp32"))))
    found = machine(device)
    out = options.out or Path("runs/bench") / f"{file_name(found)}.json"
    check_outputs({"--out": out})
    result = {"options": asdict(options) | {"out": str(out)}, "machine": found}
    print(first_line(result))
    print(f"timing {rehearsal.STEPS} steps of each of the demo's stages")
    result["demo_seconds_a_step"] = rehearsal.seconds_per_step(demo(), options.device)
    shapes = SHAPES | (ON_GPU if device.type == "cuda" else {})
    result["shapes"] = {
        f"{name}, {precision}": measure(shape, options, device, precision, f"{name}, {precision}")
        for name, shape in shapes.items()
        for precision in options.precisions
    }
    result["tokenizers"] = {
        f"{name}, {precision}": measure_tokenizer(config, options, device, precision, f"{name}, {precision}")
        for name, config in TOKENIZERS.items()
        for precision in options.precisions
    }
    write_json(out, result)
    print(report(result))
    print(out)


def measure(shape: Shape, options: Options, device: torch.device, precision: str, name: str) -> dict:
    """Measure one transformer shape in one precision."""
    torch.manual_seed(0)
    masked, causal = (
        Transformer(shape.num_codes, CLASSES, shape.num_tokens, causal=causal, **asdict(shape.transformer)).to(device)
        for causal in (False, True)
    )
    product, operations = matmul(device, precision)
    work: dict[str, Callable[[], object]] = {"matmul": product}
    for batch in options.batches:
        labels = torch.arange(batch, device=device)
        tokens = torch.randint(shape.num_codes, (batch, shape.num_tokens), device=device)
        work |= decoding_work(masked, causal, labels, tokens, options.steps)
        if device.type == "cuda":
            work[f"graphed {batch}"] = graphed_work(masked, labels, options.steps, DTYPES[precision])
    work["training"] = training_work(masked, shape, options, device, precision)
    with autocast(device, precision):
        seconds = interleaved(work, options.repeats, device, name)
    peak = operations / statistics.median(seconds["matmul"])
    return rates(seconds, masked, shape, options, peak, published_peak(device, precision))


def decoding_work(
    masked: Transformer, causal: Transformer, labels: Tensor, tokens: Tensor, steps: int
) -> dict[str, Callable[[], object]]:
    """The decoding methods to time at one batch size, and T bare forward passes to compare with."""
    batch = len(labels)

    @torch.no_grad()
    def bare_passes() -> None:
        masked.eval()
        for _ in range(steps):
            masked(tokens, labels)

    def parallel(labels: Tensor) -> Callable[[], Tensor]:
        return lambda: decode(masked.eval(), labels, steps=steps)  # eval(), because training is timed in between

    return {
        f"passes {batch}": bare_passes,
        f"parallel {batch}": parallel(labels),
        f"one class {batch}": parallel(torch.zeros_like(labels)),
        f"cache {batch}": lambda: autoregressive.generate(causal.eval(), labels),
    }


def graphed_work(masked: Transformer, labels: Tensor, steps: int, precision: torch.dtype) -> Callable[[], Tensor]:
    """Parallel decoding as one CUDA graph."""
    decoder = GraphedDecoder(masked.eval(), len(labels), steps, precision=precision)
    return lambda: decoder(labels)


def training_work(
    model: Transformer, shape: Shape, options: Options, device: torch.device, precision: Precision
) -> Callable[[], object]:
    """One training step of the masked model."""
    tokens = torch.randint(shape.num_codes, (options.train_batch, shape.num_tokens), device=device)
    labels = torch.arange(options.train_batch, device=device) % CLASSES
    optimizers = make_optimizers(Config().transformer_training, model, precision)

    def step() -> None:
        model.train()
        loss = mvtm_loss(model, tokens, labels, draw_masks(*tokens.shape, cosine, device))
        for optimizer, _ in optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for optimizer, _ in optimizers.values():
            optimizer.step()

    return step


def measure_tokenizer(config: Config, options: Options, device: torch.device, precision: str, name: str) -> dict:
    """Images per second that the tokenizer trains on, encodes and decodes."""
    torch.manual_seed(0)
    size, batch = config.images.size, options.train_batch
    model = Tokenizer(size, **asdict(config.tokenizer)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.rand(batch, 3, size, size, device=device)
    codes = torch.randint(model.num_codes, (batch, model.num_tokens), device=device)

    def train() -> None:
        model.train()
        reconstruction, quantized = model(images)
        loss = vqgan_losses(images, reconstruction.float(), quantized)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def encode() -> None:
        model.eval().encode(images)

    @torch.no_grad()
    def decode_codes() -> None:
        model.eval().decode(codes)

    work = {"training": train, "encoding": encode, "decoding": decode_codes}
    with autocast(device, precision):
        seconds = interleaved(work, options.repeats, device, f"tokenizer, {name}")
    return {
        "parameters": parameters(model),
        "tokenizer": asdict(config.tokenizer),
        "images_per_second": {kind: batch / statistics.median(seconds[kind]) for kind in work},
    }


def rates(
    seconds: dict[str, list[float]],
    model: Transformer,
    shape: Shape,
    options: Options,
    peak: float,
    published: float | None,
) -> dict:
    """Turn timings into images and operations per second, and into ratios to the bare passes of the same round."""
    median = {key: statistics.median(values) for key, values in seconds.items()}
    decoding = {}
    for batch in options.batches:
        kinds = [kind for kind in KINDS if f"{kind} {batch}" in seconds]
        bare = seconds[f"passes {batch}"]
        decoding[str(batch)] = {
            "over_bare_passes": {
                kind: statistics.median(whole / passes for whole, passes in zip(seconds[f"{kind} {batch}"], bare))
                for kind in kinds
                if kind != "cache"
            },
            "images_per_second": {kind: batch / median[f"{kind} {batch}"] for kind in kinds},
        }
    flops = transformer_flops(model, options.train_batch)
    return {
        "parameters": parameters(model),
        "tokens": shape.num_tokens,
        "codes": shape.num_codes,
        "transformer": asdict(shape.transformer),
        "decoding": decoding,
        "training": {
            "images_per_second": options.train_batch / median["training"],
            "gflops_per_second": flops / median["training"] / 1e9,
            "mfu": flops / median["training"] / (published or peak),
        },
        "matmul_gflops_per_second": peak / 1e9,
    }


KINDS = ("parallel", "one class", "graphed", "cache")  # cache: the autoregressive twin with its key-value cache


def file_name(found: dict) -> str:
    """A file name from the machine, its fast precision, and whether it was limited."""
    words = (found["name"], found["precision"], "limited" if found["limits"] else "")
    return "-".join(re.findall("[a-z0-9]+", " ".join(words).lower()))


def first_line(result: dict) -> str:
    """Describe the machine, and the measured speeds from which precision auto follows."""
    found = result["machine"]
    speeds = "; ".join(speed_text(precision, speed) for precision, speed in found["gflops"].items())
    of = "one core: " if found["device"] == "cpu" else ""
    return f"{described(found)}\n{of}{speeds}; precision auto is {found['precision']}"


def report(result: dict) -> str:
    """The results as text."""
    stages = ", ".join(f"{name.split('/')[0]} {s:.3f} s" for name, s in result["demo_seconds_a_step"].items())
    lines = [first_line(result), f"a step of the demo: {stages}", f"decoding in T = {result['options']['steps']} steps"]
    for name, shape in result["shapes"].items():
        lines.append(f"{name}: {shape['parameters'] / 1e6:.1f} M parameters, {shape['tokens']} tokens")
        for batch, d in shape["decoding"].items():
            ratios = ", ".join(f"{kind} {value:.2f}" for kind, value in d["over_bare_passes"].items())
            speeds = ", ".join(f"{kind} {value:.1f}" for kind, value in d["images_per_second"].items())
            lines.append(f"  batch {batch:>3}: time over that of T bare passes: {ratios}; images/s: {speeds}")
        t, m = shape["training"], shape["matmul_gflops_per_second"]
        lines.append(
            f"  training: {t['images_per_second']:.0f} images/s, {t['gflops_per_second']:.0f} GFLOP/s"
            f" (a plain matrix product reaches {m:.0f}); MFU {t['mfu']:.0%}"
        )
    for name, tokenizer in result["tokenizers"].items():
        speeds = ", ".join(f"{kind} {value:.0f}" for kind, value in tokenizer["images_per_second"].items())
        lines.append(f"tokenizer, {name}: {tokenizer['parameters'] / 1e6:.1f} M parameters; images/s: {speeds}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
