"""How much arithmetic and memory training will take, estimated before it starts (lesson 9).

    operations per step / speed of the device / utilisation                 ──> seconds per step ──> time to finish
    weights, gradients, optimizer + activations kept for the backward pass  ──> memory

Everything is counted with fake tensors, which have shapes but no contents, so nothing is computed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from minimaskgit.adversary import PatchDiscriminator
from minimaskgit.classifier import Classifier
from minimaskgit.common.tables import text_table
from minimaskgit.common.timing import duration
from minimaskgit.runs.config import Config
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer

# The fraction of a plain matrix product's speed that training reaches, roughly: less where products are very fast,
# because all other operations are not. Estimates print it, and `bench` measures it (MFU).
UTILISATION = {"fp32": 0.6, "bf16": 0.3}


def training_flops(depth: int, width: int, mlp_width: int, num_codes: int, sequence: int, batch_size: int) -> float:
    """Floating-point operations of one training step of a transformer, forward and backward, without the optimizer.

    sequence: length S of a sample, its class token included. Each parameter of a matrix costs 6 operations per token
    (a multiplication and an addition, once forward and twice backward). Attention's two products cost 12 S^2 width per
    layer.
    """
    blocks = depth * (4 * width**2 + 2 * width * mlp_width)  # query, key, value, output; the MLP's two
    head = width**2 + width * num_codes
    attention = 12 * depth * sequence**2 * width
    return batch_size * (6.0 * (blocks + head) * sequence + attention)


def transformer_flops(model: Transformer, batch_size: int) -> float:
    """`training_flops` of a given model."""
    mlp_width = model.blocks[0].up.out_features
    shape = (len(model.blocks), model.width, mlp_width, model.num_codes, model.num_tokens + 1)
    return training_flops(*shape, batch_size)


def tokens_per_second(batch_size: int, num_tokens: int, steps: int, seconds: float) -> float:
    """Training speed in tokens per second, if `steps` steps took `seconds` s."""
    return batch_size * num_tokens * steps / seconds


# --- One stage ---


@dataclass(frozen=True)
class Estimate:
    """What a stage will take, counted in advance."""

    stage: str
    parameters: int  # of all networks that are trained
    steps: int
    batch_size: int  # over all processes
    flops: float  # operations per step, over all processes
    state: float  # bytes of weights, gradients and optimizer state in one process
    activations: float  # bytes kept in one process for the backward pass, for one micro-batch

    @property
    def memory(self) -> float:
        return self.state + self.activations


class Cost(NamedTuple):
    """The cost of a network's forward pass for one sample."""

    flops: float
    kept: float  # bytes that the backward pass will need


def cost(config: Config, model: nn.Module, *shapes: Sequence[int]) -> Cost:
    """Count a forward pass in the run's precision; the model's tensors, on the meta device, become fake ones.

    shapes: of the model's inputs for one sample; those with three dimensions are images (float), others are integers.
    """

    def count(batch_size: int) -> Cost:
        kept: dict[int, Tensor] = {}  # by storage, which views share

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        kinds = [torch.float if len(shape) == 3 else torch.long for shape in shapes]
        inputs = [torch.zeros(batch_size, *shape, dtype=kind) for shape, kind in zip(shapes, kinds)]
        with saved_tensors_hooks(keep, lambda tensor: tensor), FlopCounterMode(display=False) as counter:
            model(*inputs)
        return Cost(counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))

    mixed = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
    with FakeTensorMode(allow_non_fake_inputs=True), mixed:
        model.to_empty(device="cpu")
        one, two = count(1), count(2)
    return Cost(one.flops, two.kept - one.kept)  # without what all samples share: weights, and their copies in bfloat16


def estimates(config: Config, num_classes: int, stages: Sequence[str], processes: int = 1) -> list[Estimate]:
    """Estimates for the given stages of MaskGIT, and for the classifier if the tokenizer needs it; none for others."""
    found = []
    for stage in stages:
        if stage == "tokenizer" and config.tokenizer_training.steps:
            found += tokenizer_estimates(config, num_classes, processes)
        elif stage in ("transformer", "autoregressive"):
            found.append(transformer_estimate(config, num_classes, stage, processes))
    return found


def tokenizer_estimates(config: Config, num_classes: int, processes: int) -> list[Estimate]:
    """The estimate of the tokenizer, after that of the classifier if there is a perceptual loss."""
    size, settings, classifying = config.images.size, config.tokenizer_training, config.classifier
    with torch.device("meta"):
        generator = Tokenizer(size, **asdict(config.tokenizer)).eval()
        classifier = Classifier(num_classes, classifying.width)
        discriminator = PatchDiscriminator(settings.gan_width, settings.gan_layers)
    networks = (generator, classifier, discriminator)
    generating, looking, judging = (cost(config, network, (3, size, size)) for network in networks)
    found = []
    if settings.perceptual_weight:
        flops = 3 * classifying.batch_size * looking.flops
        kept = activations(config, looking.kept, classifying.batch_size, processes)
        shape = (parameters(classifier), classifying.steps, classifying.batch_size)
        found.append(Estimate("classifier", *shape, flops, state(classifier), kept))
    # Forward plus backward costs 3 forward passes, or 2 if the weights need no gradient. The classifier runs forward on
    # real images, forward and backward on reconstructed ones; the discriminator does the latter and is trained on both.
    flops, kept, trained = 3 * generating.flops, generating.kept, [generator]
    if settings.perceptual_weight:
        flops, kept = flops + 3 * looking.flops, kept + 2 * looking.kept
    if settings.gan_weight:
        flops += (1 - settings.gan_start) * 8 * judging.flops
        kept += 2 * judging.kept
        trained.append(discriminator)
    kept = activations(config, kept, settings.batch_size, processes)
    shape = (sum(map(parameters, trained)), settings.steps, settings.batch_size)
    return [*found, Estimate("tokenizer", *shape, settings.batch_size * flops, sum(map(state, trained)), kept)]


def transformer_estimate(config: Config, num_classes: int, stage: str, processes: int) -> Estimate:
    """The estimate of the masked or the autoregressive transformer."""
    settings = config.transformer_training
    with torch.device("meta"):
        num_tokens = Tokenizer(config.images.size, **asdict(config.tokenizer)).num_tokens
        shape = asdict(config.transformer)
        model = Transformer(config.tokenizer.num_codes, num_classes, num_tokens, causal=False, **shape)
    kept = cost(config, model, (num_tokens,), ()).kept
    if config.recompute:  # only the input of each block, and one block at a time in full
        kept = kept / len(model.blocks) + 4 * len(model.blocks) * (num_tokens + 1) * model.width
    kept = activations(config, kept, settings.batch_size, processes)
    flops = transformer_flops(model, settings.batch_size)
    shape = (parameters(model), settings.steps, settings.batch_size)
    weights = state(model, bool(settings.ema_decay)) / (processes if config.shard else 1)
    return Estimate(stage, *shape, flops, weights, kept)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def state(model: nn.Module, ema: bool = False) -> float:
    """Bytes of float32 weights, gradients, AdamW's two moments and, if `ema`, the moving average."""
    return (20.0 if ema else 16.0) * parameters(model)


def activations(config: Config, kept: float, batch_size: int, processes: int) -> float:
    """Bytes kept for one micro-batch in one process; kept: bytes for one sample."""
    return kept * batch_size / (processes * config.accumulate)


def cuts_to_fit(found: Sequence[Estimate], free: float, shares: int = 1) -> int:
    """The number of pieces, a power of two, into which to cut each micro-batch so that all stages fit in memory.

    free: bytes of free memory. shares: number of micro-batches in a batch, over all processes. If no number of pieces
    fits, returns the largest into which batches can be cut evenly.
    """
    cuts = 1
    while any(e.state + e.activations / cuts > free for e in found):
        if any(e.batch_size % (2 * cuts * shares) for e in found):
            break
        cuts *= 2
    return cuts


# --- Times and the printed table ---


def table(found: Sequence[Estimate], peak: float, utilisation: float, processes: int = 1) -> str:
    """The estimates as text, one line per stage, if training reaches this fraction of `peak` operations per second."""
    rows, times = [], [e.steps * e.flops / (processes * peak * utilisation) for e in found]
    for e, seconds in zip(found, times):
        size = [f"{e.parameters / 1e6:.2f} M", f"{e.steps:,}", f"{e.flops / 1e9:,.1f}", f"{e.memory / 2**30:.1f} GB"]
        rows.append([e.stage, *size, duration(seconds)])
    place = f"{processes} processes of " if processes > 1 else ""
    return (
        text_table(["estimate", "parameters", "steps", "GFLOP per step", "memory", "time"], rows)
        + f"\n  total {duration(sum(times))}, if training reaches {utilisation:.0%} of the {place}{peak / 1e9:,.0f}"
        " GFLOP/s of a plain matrix product here; a run of --max-steps 5 measures it"
    )
