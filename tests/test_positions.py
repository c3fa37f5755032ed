"""What came after the paper's attention: normalised queries and keys, 2-D rotations, and the count of masks."""

import math

import pytest
import torch
from command_line import error_line
from hypothesis import given
from hypothesis import strategies as st
from strategies import codes
from tiny import generator, tiny_transformer

from minimaskgit import autoregressive, train
from minimaskgit.positions import QueryKey, grid_angles, rotate
from minimaskgit.training.sharding import whole_model

K, N, SIDE, D = 11, 9, 3, 8
cells = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))


def turned(vector: torch.Tensor, cell: tuple[int, int]) -> torch.Tensor:
    angles = grid_angles(N, D)[1 + cell[0] * SIDE + cell[1]]
    return rotate(vector[None, None, None], angles[None])[0, 0, 0]


@given(a=cells, b=cells, seed=st.integers(0, 99))
def test_a_rotation_is_worked_out_by_complex_numbers(a, b, seed):
    x = torch.randn(D, generator=generator(seed))
    pairs = [complex(x[i], x[i + D // 2]) for i in range(D // 2)]
    frequencies = [1.0, 0.01]
    angles = [a[0] * f for f in frequencies] + [a[1] * f for f in frequencies]
    expected = [z * complex(math.cos(t), math.sin(t)) for z, t in zip(pairs, angles)]
    found = turned(x, a)
    assert found.tolist() == pytest.approx([z.real for z in expected] + [z.imag for z in expected], abs=1e-5)


@given(a=cells, b=cells, seed=st.integers(0, 99))
def test_the_product_of_two_turned_vectors_depends_on_their_distance_only(a, b, seed):
    q, k = torch.randn(2, D, generator=generator(seed))
    low = tuple(min(x, y) for x, y in zip(a, b))
    moved = [tuple(x - y for x, y in zip(cell, low)) for cell in (a, b)]
    assert (turned(q, a) @ turned(k, b)).item() == pytest.approx(
        (turned(q, moved[0]) @ turned(k, moved[1])).item(), abs=1e-4
    )


def test_the_class_token_is_not_turned_and_other_grids_are_refused():
    assert grid_angles(N, D)[0].tolist() == [0.0] * (D // 2)
    for num_tokens, dim in ((8, 8), (9, 6)):
        with pytest.raises(ValueError, match="expected a square grid"):
            grid_angles(num_tokens, dim)


def test_split_weights_put_together_have_their_angles_too_which_no_file_has():
    make = lambda: tiny_transformer(num_tokens=N, rope=True)
    model = make()
    for buffer in model.buffers():
        buffer.fill_(0.5)  # such values are not found in free memory by chance
    together = whole_model(model, make, here=True)
    tokens, labels = torch.zeros(2, N, dtype=torch.long), torch.arange(2)
    assert list(together.buffers()) and together(tokens, labels).equal(model(tokens, labels))


@given(scale=st.floats(0.1, 100))
def test_normalised_queries_do_not_depend_on_their_length(scale):
    both = torch.randn(2, 1, 2, 4, D, generator=generator(0))
    change = QueryKey(N, D, qk_norm=True, rope=False)
    for one, other in zip(change(*both), change(*(scale * both))):
        assert one.allclose(other, atol=1e-3) and one.square().mean(-1).allclose(torch.ones(()), atol=1e-3)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=3), qk_norm=st.booleans(), seed=st.integers(0, 99))
def test_with_rotations_the_cache_draws_what_reading_everything_again_draws(labels, qk_norm, seed):
    model = tiny_transformer(causal=True, pre_norm=True, rope=True, qk_norm=qk_norm)
    draw = lambda cache: autoregressive.generate(model, torch.tensor(labels), cache=cache, generator=generator(seed))
    assert draw(True).equal(draw(False))


@pytest.mark.parametrize("option", ["rope", "qk_norm"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_model_uses_what_it_has(option, causal):
    plain, other = tiny_transformer(causal=causal), tiny_transformer(causal=causal, **{option: True})
    other.load_state_dict(plain.state_dict(), strict=False)
    tokens, labels = torch.arange(N)[None], torch.tensor([0])
    assert not plain(tokens, labels).allclose(other(tokens, labels), atol=1e-3)


@given(tokens=codes(K, 2, N), place=st.integers(0, N - 1))
def test_a_causal_model_with_rotations_cannot_see_the_future(tokens, place):
    model = tiny_transformer(causal=True, rope=True, qk_norm=True)
    other = tokens.clone()
    other[:, place] = (tokens[:, place] + 1) % K
    labels = torch.tensor([0, 1])
    assert model(tokens, labels)[:, : place + 1].equal(model(other, labels)[:, : place + 1])


def test_a_masked_model_that_counts_masks_reads_their_number_and_a_causal_one_has_no_such_table():
    model = tiny_transformer(count_masks=True)
    tokens, labels = torch.full((1, N), model.mask_id), torch.tensor([0])
    before = model(tokens, labels)
    with torch.no_grad():
        model.masks.weight[N - 1] += 1  # one mask fewer than here: not read
        assert model(tokens, labels).equal(before)
        model.masks.weight[N] += 1
    assert not model(tokens, labels).allclose(before)
    assert tiny_transformer(count_masks=True, causal=True).masks is None


def test_settings_that_rotations_or_the_codebook_cannot_have_are_refused_before_training(capsys, tmp_path):
    out = ("--out", str(tmp_path / "run"))
    heads = ("--transformer.rope", "--transformer.heads", "64")
    assert "2 channels for each of --transformer.heads 64" in error_line(capsys, train, *out, *heads)
    both = ("--tokenizer.linear", "--tokenizer.ema")
    assert "expected one of them" in error_line(capsys, train, *out, *both)
    assert not (tmp_path / "run").exists()
