"""How fast it is: `make bench` (lesson 9). Ratios within one run; the machine's own matrix product is measured beside.

Measured with untrained weights, since speed does not depend on them, on two shapes: the demo's, and a width-256,
8-layer transformer on 256 tokens of 1024 codes.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from minimaskgit import autoregressive, cli
from minimaskgit.config import Config, TransformerConfig
from minimaskgit.decoding import decode
from minimaskgit.errors import UserError
from minimaskgit.files import write_json
from minimaskgit.masking import mvtm_loss
from minimaskgit.runs import pick_device
from minimaskgit.schedules import cosine
from minimaskgit.timing import interleaved, machine
from minimaskgit.train import make_optimizers
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
CLASSES = 1000  # more than any batch, so that no two samples share their first pass


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out: Path = Path("runs/bench.json")  # where the numbers go
    batches: tuple[int, ...] = (1, 16)  # images generated at once
    train_batch: int = 32  # images a training step
    steps: int = 8  # decoding steps T
    repeats: int = 5  # timings of each, interleaved; the median counts
    precision: Literal["fp32", "bf16"] = "bf16"  # of matrix products
    device: str = "auto"  # auto, cpu, cuda or mps


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    options = cli.parse(Options, "Measure decoding and training speed.", argv=argv)
    for name in ("train_batch", "steps", "repeats"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected 1 or more")
    if not options.batches or not all(1 <= batch <= CLASSES for batch in options.batches):
        raise UserError(f"--batches {options.batches}: expected numbers from 1 to {CLASSES}")
    device = pick_device(options.device)
    result = {"options": asdict(options) | {"out": str(options.out)}, "machine": machine(device)}
    result["shapes"] = {name: measure(shape, options, device, name) for name, shape in SHAPES.items()}
    print(report(result))
    write_json(options.out, result)
    print(options.out)


def measure(shape: Shape, options: Options, device: torch.device, name: str) -> dict:
    """Seconds and rates of everything for one shape."""
    torch.manual_seed(0)
    masked, causal = (
        Transformer(shape.num_codes, CLASSES, shape.num_tokens, causal=causal, **asdict(shape.transformer)).to(device)
        for causal in (False, True)
    )
    work: dict[str, Callable[[], object]] = {"matmul": matmul_work(options, device)}
    for batch in options.batches:
        labels = torch.arange(batch, device=device)
        tokens = torch.randint(shape.num_codes, (batch, shape.num_tokens), device=device)
        work |= decoding_work(masked, causal, labels, tokens, options.steps)
    work["training"] = training_work(masked, shape, options, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
        seconds = interleaved(work, options.repeats, device, name)
    return rates(seconds, masked, shape, options)


def matmul_work(options: Options, device: torch.device) -> Callable[[], object]:
    """The machine's yardstick, a product of two square matrices in the same precision."""
    side = MATMUL_SIDE[device.type]
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b


MATMUL_SIDE = {"cpu": 2048, "mps": 4096, "cuda": 8192}


def decoding_work(
    masked: Transformer, causal: Transformer, labels: Tensor, tokens: Tensor, steps: int
) -> dict[str, Callable[[], object]]:
    """Decoding by each method, and T bare forward passes to compare with, at one batch size."""
    batch = len(labels)

    @torch.no_grad()
    def bare_passes() -> None:
        masked.eval()
        for _ in range(steps):
            masked(tokens, labels)

    def parallel() -> Tensor:
        masked.eval()
        return decode(masked, labels, steps=steps)

    def raster(cache: bool) -> Callable[[], Tensor]:
        causal.eval()
        return lambda: autoregressive.generate(causal, labels, cache=cache)

    return {
        f"passes {batch}": bare_passes,
        f"parallel {batch}": parallel,
        f"cache {batch}": raster(cache=True),
        f"no cache {batch}": raster(cache=False),
    }


def training_work(model: Transformer, shape: Shape, options: Options, device: torch.device) -> Callable[[], object]:
    """One training step of the masked model."""
    tokens = torch.randint(shape.num_codes, (options.train_batch, shape.num_tokens), device=device)
    labels = torch.arange(options.train_batch, device=device) % CLASSES
    optimizers = make_optimizers(Config().transformer_training, model)

    def step() -> None:
        model.train()
        loss = mvtm_loss(model, tokens, labels, cosine)
        for optimizer, _ in optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for optimizer, _ in optimizers.values():
            optimizer.step()

    return step


def training_flops(model: Transformer, batch: int) -> float:
    """Floating-point operations of one training step, forward and backward, optimizer not counted.

    6 per matrix parameter and token (2 forward, 4 backward) and 12 * depth * S^2 * width a sample for attention.
    """
    sequence = model.num_tokens + 1
    matrices = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2) + model.head[0].weight.numel()
    output = model.num_codes * model.width
    attention = 12 * len(model.blocks) * sequence**2 * model.width
    return batch * (6 * (matrices + output) * sequence + attention)


def rates(seconds: dict[str, list[float]], model: Transformer, shape: Shape, options: Options) -> dict:
    """Medians turned into images and operations a second."""
    median = {key: statistics.median(values) for key, values in seconds.items()}
    decoding = {}
    for batch in options.batches:
        ratios = [whole / bare for whole, bare in zip(seconds[f"parallel {batch}"], seconds[f"passes {batch}"])]
        decoding[str(batch)] = {
            "decode_over_bare_passes": statistics.median(ratios),
            "images_per_second": {
                kind: batch / median[f"{kind} {batch}"] for kind in ("parallel", "cache", "no cache")
            },
        }
    side = MATMUL_SIDE[model.bias.device.type]
    flops = training_flops(model, options.train_batch)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": shape.num_tokens,
        "codes": shape.num_codes,
        "transformer": asdict(shape.transformer),
        "decoding": decoding,
        "training": {
            "images_per_second": options.train_batch / median["training"],
            "gflops_per_second": flops / median["training"] / 1e9,
        },
        "matmul_gflops_per_second": 2 * side**3 / median["matmul"] / 1e9,
    }


def report(result: dict) -> str:
    """The numbers as text."""
    lines = [f"{result['machine']['device']}, {result['options']['precision']}, T = {result['options']['steps']}"]
    for name, shape in result["shapes"].items():
        lines.append(f"{name}: {shape['parameters'] / 1e6:.1f} M parameters, {shape['tokens']} tokens")
        for batch, d in shape["decoding"].items():
            ratio = d["decode_over_bare_passes"]
            speeds = ", ".join(f"{kind} {value:.1f}" for kind, value in d["images_per_second"].items())
            lines.append(f"  batch {batch:>3}: decoding takes {ratio:.2f} x its bare passes; images/s: {speeds}")
        t, m = shape["training"], shape["matmul_gflops_per_second"]
        lines.append(
            f"  training: {t['images_per_second']:.0f} images/s, {t['gflops_per_second']:.0f} GFLOP/s"
            f" (a plain matrix product reaches {m:.0f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
