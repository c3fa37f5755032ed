"""The authors' published weights: their arrays and our tensors, in both directions.

    Embed_0/word_embeddings/embedding (V, D)            embedding.weight (V, D)
    .../{query,key,value}/kernel, each (D, heads, d)    blocks.i.qkv.weight (3 D, D)
    encoder/ResBlock_0/Conv_0/kernel (H, W, in, out)    encoder.2.body.2.weight (out, in, H, W)

flax stores the matrix of a dense layer as (in, out), PyTorch as (out, in). Every array must be used once: the sizes of
our models are read from the arrays, then `pairs` lists what must be there.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import Config
from minimaskgit.runs.flax import read_arrays
from minimaskgit.runs.models import arguments
from minimaskgit.runs.presets import official
from minimaskgit.tokenizer import ResidualBlock, Tokenizer
from minimaskgit.transformer import Transformer

JUDGE_STEPS = 5000  # of the judge, times 2, for metrics that need one: the paper preset's would take days
Arrays = Mapping[str, np.ndarray]  # by name, without params/ before it
MARKS = {"tokenizer": "encoder", "transformer": "Embed_0"}  # what each file has and the other has not


# --- The map ---


class Pair(NamedTuple):
    """One of our tensors and what it is made of: one array, or three, those of queries, keys and values."""

    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...]  # of each array
    flat: tuple[int, ...]  # the same without separate heads
    axes: tuple[int, ...]  # of the flat array, in the order of ours


def pair(ours: str, theirs: Sequence[str], shape: Sequence[int], axes: Sequence[int], flat: Sequence[int] = ()) -> Pair:
    """A pair whose arrays are flat already unless said otherwise."""
    return Pair(ours, tuple(theirs), tuple(shape), tuple(flat or shape), tuple(axes))


def pairs(model: Transformer | Tokenizer) -> list[Pair]:
    """The pairs of all parameters of a model, which may be on the meta device."""
    return list(_transformer_pairs(model) if isinstance(model, Transformer) else _tokenizer_pairs(model))


def layer_pairs(layer: nn.Module, ours: str, theirs: str) -> Iterator[Pair]:
    """The pairs of a dense layer, a convolution or a norm."""
    weight = tuple(layer.weight.shape)
    if isinstance(layer, nn.Linear):
        yield pair(f"{ours}.weight", [f"{theirs}/kernel"], weight[::-1], (1, 0))
    elif isinstance(layer, nn.Conv2d):
        out, inputs, height, width = weight
        yield pair(f"{ours}.weight", [f"{theirs}/kernel"], (height, width, inputs, out), (3, 2, 0, 1))
    else:
        yield pair(f"{ours}.weight", [f"{theirs}/scale"], weight, (0,))
    if layer.bias is not None:
        yield pair(f"{ours}.bias", [f"{theirs}/bias"], layer.bias.shape, (0,))


def _transformer_pairs(model: Transformer) -> Iterator[Pair]:
    D, heads = model.width, model.heads
    d = D // heads
    yield pair("embedding.weight", ["Embed_0/word_embeddings/embedding"], model.embedding.weight.shape, (0, 1))
    yield pair("positions", ["Embed_0/position_embeddings/embedding"], model.positions.shape, (0, 1))
    yield from layer_pairs(model.norm, "norm", "Embed_0/embeddings_ln")
    for i, block in enumerate(model.blocks):
        ours, theirs = f"blocks.{i}", f"TransformerLayer_{i}"
        attention = f"{theirs}/Attention_0/self_attention"
        three = [f"{attention}/{name}" for name in ("query", "key", "value")]
        yield pair(f"{ours}.qkv.weight", [f"{one}/kernel" for one in three], (D, heads, d), (1, 0), flat=(D, D))
        yield pair(f"{ours}.qkv.bias", [f"{one}/bias" for one in three], (heads, d), (0,), flat=(D,))
        yield pair(f"{ours}.out.weight", [f"{attention}/out/kernel"], (heads, d, D), (1, 0), flat=(D, D))
        yield pair(f"{ours}.out.bias", [f"{attention}/out/bias"], (D,), (0,))
        yield from layer_pairs(block.norm1, f"{ours}.norm1", f"{theirs}/Attention_0/attention_output_ln")
        yield from layer_pairs(block.up, f"{ours}.up", f"{theirs}/Mlp_0/intermediate_output")
        yield from layer_pairs(block.down, f"{ours}.down", f"{theirs}/Mlp_0/layer_output")
        yield from layer_pairs(block.norm2, f"{ours}.norm2", f"{theirs}/Mlp_0/layer_output_ln")
    yield from layer_pairs(model.head[0], "head.0", "MlmLayer_0/mlm_dense")
    yield from layer_pairs(model.head[2], "head.2", "MlmLayer_0/mlm_ln")
    yield pair("bias", ["MlmLayer_0/mlm_bias/bias"], model.bias.shape, (0,))


def _tokenizer_pairs(model: Tokenizer) -> Iterator[Pair]:
    yield pair("quantizer.codebook", ["quantizer/codebook"], model.quantizer.codebook.shape, (0, 1))
    for part in ("encoder", "decoder"):
        yield from _numbered(getattr(model, part), part, part)


KINDS = {nn.Conv2d: "Conv", nn.GroupNorm: "GroupNorm", ResidualBlock: "ResBlock"}


def _numbered(module: nn.Module, ours: str, theirs: str) -> Iterator[Pair]:
    """The pairs of a module's layers, which flax numbers in their order, each kind from 0."""
    seen = Counter()
    for name, layer in _layers(module, ours):
        if kind := KINDS.get(type(layer)):
            there = f"{theirs}/{kind}_{seen[kind]}"
            seen[kind] += 1
            yield from _numbered(layer, name, there) if kind == "ResBlock" else layer_pairs(layer, name, there)


def _layers(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    for part, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from _layers(child, f"{name}.{part}")
        else:
            yield f"{name}.{part}", child


def to_ours(pair: Pair, arrays: Sequence[np.ndarray]) -> Tensor:
    """Our tensor, a copy, from their arrays."""
    parts = [array.reshape(pair.flat).transpose(pair.axes) for array in arrays]
    out = np.empty((len(parts) * parts[0].shape[0], *parts[0].shape[1:]), np.float32)
    return torch.from_numpy(np.concatenate(parts, out=out))


def to_theirs(pair: Pair, tensor: Tensor) -> list[np.ndarray]:
    """Their arrays from our tensor."""
    back = np.argsort(pair.axes)
    parts = np.split(tensor.detach().float().cpu().numpy(), len(pair.theirs))
    return [part.transpose(back).reshape(pair.shape) for part in parts]


# --- From a file to a model ---


class Weights(NamedTuple):
    """A checkpoint of the authors' that has been opened, but of which no number has been read."""

    path: Path
    kind: str  # "tokenizer" or "transformer"
    arrays: Arrays

    def shape(self, name: str, sides: int) -> tuple[int, ...]:
        """The shape of an array; UserError if it is missing or has another number of sides."""
        if name not in self.arrays:
            raise UserError(f"{self.path} is not a {self.kind} in the released format: {name} is missing")
        shape = self.arrays[name].shape
        if len(shape) != sides or not all(shape):
            raise UserError(f"{self.path}: {name} has the shape {shape}; expected {sides} sides, none of them 0")
        return shape

    def count(self, pattern: str) -> int:
        """How many different names begin with this pattern."""
        return len({found[0] for name in self.arrays if (found := re.match(pattern, name))})


def open_weights(path: Path, kind: str) -> Weights:
    """The arrays of a released tokenizer or transformer; UserError for anything else."""
    content = read_arrays(path)
    if set(content) != {"params"} or not isinstance(content["params"], dict):
        held = ", ".join(list(content)[:5]) or "nothing"
        raise UserError(
            f"{path} holds {held}: a training state or another checkpoint; expected the weights alone, in a map params"
        )
    other = next(name for name in MARKS if name != kind)
    if MARKS[kind] not in content["params"] and MARKS[other] in content["params"]:
        raise UserError(f"--{kind} {path} is a {other}; expected a {kind}: give it as --{other}")
    return Weights(path, kind, dict(flattened(path, content["params"])))


def flattened(path: Path, content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in nested maps by their names, joined with /."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flattened(path, value, f"{before}{name}/")
        elif isinstance(value, np.ndarray) and value.dtype == np.float32:
            yield before + name, value
        else:
            found = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise UserError(f"{path}: {before}{name} is of {found}; expected an array of float32")


def config_of(tokenizer: Weights, transformer: Weights, data: str) -> Config:
    """The settings of a run with these weights; every size is read from the arrays. UserError if they do not fit."""
    config, (K, code_dim) = official(), tokenizer.shape("quantizer/codebook", 2)
    rows, width = transformer.shape("Embed_0/word_embeddings/embedding", 2)
    if rows < K + 2:
        raise UserError(
            f"{transformer.path} has {rows} rows for codes, classes and [MASK], and {tokenizer.path} has {K} codes:"
            " they do not belong together; expected files of the same image size"
        )
    _, heads, d = transformer.shape("TransformerLayer_0/Attention_0/self_attention/query/kernel", 3)
    if heads * d != width:
        raise UserError(f"{transformer.path} has {heads} heads of {d} channels; expected a width of {width} in all")
    _, mlp_width = transformer.shape("TransformerLayer_0/Mlp_0/intermediate_output/kernel", 2)
    depth = transformer.count(r"TransformerLayer_\d+/")

    *_, pixels, first = tokenizer.shape("encoder/Conv_0/kernel", 4)
    levels = max(1, tokenizer.count(r"decoder/Conv_\d+/") - 1)
    blocks = max(1, tokenizer.count(r"encoder/ResBlock_\d+/") // (levels + 1))
    ends = [f"encoder/ResBlock_{level * blocks}/Conv_0/kernel" for level in range(levels)]
    multipliers = [tokenizer.shape(name, 4)[3] / first for name in ends]
    patch = math.isqrt(pixels // 3)
    if 3 * patch**2 != pixels or not all(number >= 1 and number == int(number) for number in multipliers):
        raise UserError(
            f"{tokenizer.path}: {pixels} channels in, and levels of {multipliers} times the first width, {first};"
            " expected 3 channels for each pixel of a square patch, and whole multiples of the first width"
        )

    positions, _ = transformer.shape("Embed_0/position_embeddings/embedding", 2)
    side = math.isqrt(positions - 1)
    if side**2 != positions - 1 or side == 0:
        raise UserError(
            f"{transformer.path} has {positions} positions; expected one for the class and a square of tokens"
        )
    shape = {"width": first, "multipliers": tuple(map(int, multipliers)), "blocks": blocks, "patch": patch}
    return replace(
        config,
        data=data,
        classifier=replace(config.classifier, steps=JUDGE_STEPS),
        images=replace(config.images, size=side * patch * 2 ** (levels - 1)),
        tokenizer=replace(config.tokenizer, **shape, num_codes=K, code_dim=code_dim),
        transformer=replace(config.transformer, width=width, depth=depth, heads=heads, mlp_width=mlp_width),
        decoding=replace(config.decoding, steps=min(config.decoding.steps, side**2)),
    )


def build(config: Config, weights: Weights) -> Transformer | Tokenizer:
    """The model without memory for its parameters; UserError unless every array has a use and the right shape."""
    with torch.device("meta"):
        if weights.kind == "tokenizer":
            model = Tokenizer(config.images.size, **asdict(config.tokenizer))
        else:
            rows, positions = (
                weights.shape(f"Embed_0/{name}_embeddings/embedding", 2)[0] for name in ("word", "position")
            )
            codes = config.tokenizer.num_codes
            model = Transformer(codes, rows - codes - 1, positions - 1, **asdict(config.transformer))
    expected = {name: pair.shape for pair in pairs(model) for name in pair.theirs}
    for name, shape in expected.items():
        if weights.shape(name, len(shape)) != shape:
            raise UserError(f"{weights.path}: {name} has the shape {weights.arrays[name].shape}; expected {shape}")
    if unused := [name for name in weights.arrays if name not in expected]:
        more = f" and {len(unused) - 1} more" if unused[1:] else ""
        raise UserError(f"{weights.path} has {unused[0]}{more}, which a {weights.kind} of these sizes does not have")
    return model


def check_finite(weights: Weights) -> None:
    """UserError for numbers that are NaN or infinite."""
    for name, array in weights.arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{weights.path}: {name} has numbers that are NaN or infinite; download the file again")


def fill(model: Transformer | Tokenizer, weights: Weights) -> None:
    """Give a model of `build` its parameters."""
    state = {pair.ours: to_ours(pair, [weights.arrays[name] for name in pair.theirs]) for pair in pairs(model)}
    if isinstance(model, Tokenizer):
        state["quantizer.idle"] = torch.zeros(model.num_codes, dtype=torch.long)  # only training uses it
    model.load_state_dict(state, assign=True)


# --- From a model to a file ---

# What the released code does, for which its files have no setting, and how ours are called.
ALWAYS = {
    "transformer": {"pre_norm": False, "qk_norm": False, "rope": False, "count_masks": False},
    "tokenizer": {"patch": 1, "l2_norm": False, "linear": False, "released_shortcut": True},
}
COMPUTES = {"norm_eps": 1e-12, "gelu": "tanh"}  # the same weights serve another value, with a small difference


def check_released(folder: Path) -> list[str]:
    """Lines on what the released code computes differently from a run; UserError for models that it does not have."""
    own = {
        "tokenizer": arguments(Tokenizer, folder / "tokenizer"),
        "transformer": arguments(Transformer, folder / "transformer"),
    }
    for kind, settings in ALWAYS.items():
        for name, value in settings.items():
            if (found := own[kind][name]) != value:
                raise UserError(
                    f"--to flax: {folder / kind} has {name} {found}, and the authors' format can only hold {value},"
                    " as in the presets paper and official"
                )
    differing = {name: value for name, value in COMPUTES.items() if own["transformer"][name] != value}
    return [
        f"note: the authors' code computes with {name} {value}, this run with {own['transformer'][name]}"
        for name, value in differing.items()
    ]


def released_tree(model: Transformer | Tokenizer) -> dict[str, Any]:
    """The nested maps that the authors' file of this model holds, in the order that theirs have."""
    arrays = {}
    for pair in pairs(model):
        arrays |= zip(pair.theirs, to_theirs(pair, model.get_parameter(pair.ours)))
    tree: dict[str, Any] = {}
    for name, array in sorted(arrays.items(), key=lambda item: (item[0].startswith("decoder/"), item[0])):
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = array
    return {"params": tree}
