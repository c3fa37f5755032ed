"""Laws of lesson 4: heads, attention, and the block around it (paper section 3.1; "Attention is all you need")."""

from functools import partial

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sizes import assert_no_size_is_written_in
from strategies import like, seeds, small
from tiny import generator

from minimaskgit import transformer

HEADS = "lesson 4, 'Several heads': each reads a slice of the width of its own; merging puts the slices side by side"
ATTENTION = "lesson 4, 'Attention': softmax(q k^T / sqrt(d)) v; causal: minus infinity where key > query"
BLOCK = "lesson 4, 'The block': attention, then MLP, each with a residual sum and a LayerNorm"

LESSON = {
    "attention": (transformer, ATTENTION),
    "split_heads": (transformer, HEADS),
    "merge_heads": (transformer, HEADS),
    "Block": (transformer, BLOCK),
}

sizes = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))  # B, S, heads, d


@st.composite
def queries_keys_values(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """q, k and v, all of one shape (B, heads, S, d)."""
    q = draw(small(2, 2, 4, 3))
    return q, draw(like(q)), draw(like(q))


# --- All ---


@pytest.mark.parametrize("name", ["split_heads", "merge_heads", "attention"])
def test_no_size_is_written_into_the_function(impl, name):
    sizes = {f"{h} heads and d = {d}": partial(right_with, impl, name, h, d) for h, d in ((3, 2), (2, 16), (8, 64))}
    assert_no_size_is_written_in(sizes)


def right_with(impl, name: str, heads: int, width: int) -> bool:
    """Whether an answer is right for so many heads, each of width d."""
    x = torch.randn(2, 5, heads * width, generator=generator(0))
    split = torch.stack(x.split(width, dim=-1), dim=1)  # (B, heads, S, d)
    if name == "split_heads":
        return impl.split_heads(x, heads).equal(split)
    if name == "merge_heads":
        return impl.merge_heads(split).equal(x)
    return np.allclose(
        impl.attention(split, split, split, False).numpy(), attended(split, split, split, False), atol=1e-4
    )


# --- Heads ---


@pytest.mark.law("split_heads")
@given(sizes=sizes)
def test_each_head_gets_a_slice_of_the_width_at_every_position(impl, sizes):
    batch, length, heads, width = sizes
    x = torch.arange(batch * length * heads * width).view(batch, length, heads * width)
    split = impl.split_heads(x, heads)
    shape = (batch, heads, length, width)
    assert split.shape == shape, oracles.shape(split, shape)
    for head in range(heads):
        expected = x[..., head * width : (head + 1) * width]
        assert split[:, head].equal(expected), f"head {head}: {oracles.instead(split[:, head], expected)}"


@pytest.mark.law("merge_heads")
@given(sizes=sizes)
def test_merging_puts_the_heads_side_by_side_again(impl, sizes):
    batch, length, heads, width = sizes
    expected = torch.arange(batch * length * heads * width).view(batch, length, heads * width)
    split = torch.stack(expected.split(width, dim=-1), dim=1)  # (B, heads, S, d)
    merged = impl.merge_heads(split)
    assert merged.shape == expected.shape, oracles.shape(merged, expected.shape)
    assert merged.equal(expected), oracles.instead(merged, expected)


# --- Attention ---


@pytest.mark.law("attention")
@given(drawn=queries_keys_values(), scale=st.sampled_from([1.0, 5.0]))
def test_attention_is_the_softmax_of_scaled_products(impl, drawn, scale):
    q, k, v = scale * drawn[0], *drawn[1:]
    for causal in (False, True):  # chance alone may never draw True with more than one query
        found, expected = impl.attention(q, k, v, causal), attended(q, k, v, causal)
        assert found.shape == q.shape, oracles.shape(found, q.shape)
        fits = np.allclose(found.numpy(), expected, atol=1e-4)
        assert fits, f"causal={causal}: {oracles.instead(found, expected)}"


@pytest.mark.law("attention")
@given(drawn=queries_keys_values(), others=seeds)
def test_under_causal_attention_a_query_knows_nothing_of_later_keys_and_values(impl, drawn, others):
    q, k, v = drawn
    before = impl.attention(q, k, v, True)
    for place in range(1, q.shape[2]):
        later_k, later_v = k.clone(), v.clone()
        later_k[:, :, place:] += torch.randn(k[:, :, place:].shape, generator=generator(others))
        later_v[:, :, place:] += 1
        after = impl.attention(q, later_k, later_v, True)
        same = after[:, :, :place].allclose(before[:, :, :place], atol=1e-5)
        assert same, f"queries before {place} saw keys or values from {place} on"


@pytest.mark.law("attention")
@given(q=small(2, 2, 2, 3), order=st.permutations(range(4)), draw=seeds)
def test_attention_does_not_care_for_the_order_of_keys(impl, q, order, draw):
    batch, heads, _, width = q.shape
    k, v = torch.randn(2, batch, heads, 4, width, generator=generator(draw))  # S' = 4 keys, S queries
    one, other = impl.attention(q, k, v, False), impl.attention(q, k[:, :, order], v[:, :, order], False)
    assert one.allclose(other, atol=1e-5), "the same keys and values in another order: another result"


@pytest.mark.law("attention")
def test_keys_that_all_fit_alike_give_the_mean_of_the_values_however_well_they_fit(impl):
    q = torch.tensor([100.0, -100.0]).view(1, 1, 2, 1)
    k, v = torch.full((1, 1, 4, 1), 100.0), torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 4, 1)
    found = impl.attention(q, k, v, False).flatten().tolist()
    assert found == pytest.approx([3, 3], 1e-4), f"returned {found}; expected [3, 3]"


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) v in numpy."""
    q, k, v = (x.double().numpy() for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])  # (B, heads, S, S')
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:])), scores, -np.inf)
    return special.softmax(scores, axis=-1) @ v


# --- The block ---


def block_of(heads: int, causal: bool, pre_norm: bool) -> tuple[dict, dict[str, torch.Tensor]]:
    """Options of a block of width 4 and weights that all make a difference."""
    options = {"width": 4, "heads": heads, "mlp_width": 6, "dropout": 0.0, "causal": causal, "pre_norm": pre_norm}
    shapes = {name: value.shape for name, value in transformer.Block(**options).state_dict().items()}
    draw = generator(0)
    return options, {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


@pytest.mark.law("Block")
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_block_with_silent_sublayers_is_its_residual_sums_and_norms(impl, pre_norm):
    options, weights = block_of(2, False, pre_norm)
    for name in ("out.weight", "out.bias", "down.weight", "down.bias"):
        weights[name] = torch.zeros_like(weights[name])
    x = torch.tensor([[[3.0, 1.0, 0.0, -2.0]]])
    expected = x.double().numpy()
    if not pre_norm:
        expected = layer_norm(layer_norm(expected, weights, "norm1"), weights, "norm2")
    found = impl.forward("Block", options, weights, x)
    assert found.shape == x.shape, oracles.shape(found, x.shape)
    fits = np.allclose(found.numpy(), expected, atol=1e-3)
    assert fits, f"with sublayers that add nothing: {oracles.instead(found, expected)}"


@pytest.mark.law("Block")
@given(
    x=st.tuples(st.integers(1, 2), st.integers(1, 3)).flatmap(lambda shape: like(torch.empty(*shape, 4))),
    heads=st.sampled_from([1, 2]),
    causal=st.booleans(),
    pre_norm=st.booleans(),
)
def test_a_block_is_attention_and_mlp_in_the_order_that_pre_norm_says(impl, x, heads, causal, pre_norm):
    options, weights = block_of(heads, causal, pre_norm)
    found, expected = impl.forward("Block", options, weights, x), block(x, heads, causal, pre_norm, weights)
    fits = np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)  # GELU by tanh is off by more
    assert fits, oracles.instead(found, expected)


def block(x: torch.Tensor, heads: int, causal: bool, pre_norm: bool, weights: dict[str, torch.Tensor]) -> np.ndarray:
    """The block in numpy."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"].double().numpy().T + weights[f"{name}.bias"].double().numpy()

    def attend(x):
        q, k, v = (
            torch.stack(torch.from_numpy(part).chunk(heads, dim=-1), dim=1)  # (B, heads, S, d)
            for part in np.split(linear(x, "qkv"), 3, axis=-1)
        )
        return linear(np.concatenate(attended(q, k, v, causal).swapaxes(0, 1), axis=-1), "out")

    def mlp(x):
        inner = linear(x, "up")
        return linear(inner * special.ndtr(inner), "down")  # GELU(x) = x Phi(x)

    x = x.double().numpy()
    if pre_norm:
        x = x + attend(layer_norm(x, weights, "norm1"))
        return x + mlp(layer_norm(x, weights, "norm2"))
    x = layer_norm(x + attend(x), weights, "norm1")
    return layer_norm(x + mlp(x), weights, "norm2")


def layer_norm(x: np.ndarray, weights: dict[str, torch.Tensor], name: str) -> np.ndarray:
    weight, bias = (weights[f"{name}.{part}"].double().numpy() for part in ("weight", "bias"))
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias
