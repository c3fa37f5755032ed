"""The transformer: which position sees what, and what can be predicted (lesson 4; paper section 3.1).

Laws of the functions that students write are in laws/test_lesson_4.py; those of `shift_right` in test_lesson_6.py.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import codes
from tiny import generator, tiny_transformer

from minimaskgit.transformer import KVCache, Transformer, attention, shift_right

B, N, K, C = 2, 9, 11, 3  # samples, and the tiny transformer's tokens, codes and classes

model_runs = settings(max_examples=20)
places = st.integers(0, N - 1)


def some_tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(K, (B, N), generator=generator(seed))


def some_labels() -> torch.Tensor:
    return torch.tensor([0, 2])


def changed_positions(a: torch.Tensor, b: torch.Tensor) -> list[int]:
    """The positions at which two batches of logits (B, N, K) differ in every sample."""
    return torch.where(((a - b).abs().amax(-1) > 1e-5).all(0))[0].tolist()


# --- Heads and attention ---


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.02), (torch.float, 1e-5), (torch.double, 1e-12)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_returns_the_precision_of_its_input(dtype, error, causal):
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=generator(0)).to(dtype)
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if causal else torch.ones(5, 5, dtype=torch.bool)
    scores = (q.double() @ k.double().mT / 2).masked_fill(~mask, -torch.inf)
    out = attention(q, k, v, causal)
    assert out.dtype == dtype and out.double().allclose(scores.softmax(-1) @ v.double(), rtol=0, atol=error)


# --- Which position sees what ---


@model_runs
@given(tokens=codes(K, B, N), place=places, pre_norm=st.booleans())
def test_a_causal_model_cannot_see_the_future(tokens, place, pre_norm):
    model = tiny_transformer(causal=True, pre_norm=pre_norm)
    other = tokens.clone()
    other[:, place] = (tokens[:, place] + 1) % K
    before, after = model(tokens, some_labels()), model(other, some_labels())
    assert before[:, : place + 1].equal(after[:, : place + 1])  # nor the token that it predicts
    assert changed_positions(before, after) == list(range(place + 1, N))


@model_runs
@given(tokens=codes(K, B, N), place=places, pre_norm=st.booleans())
def test_a_bidirectional_model_sees_every_token_from_everywhere(tokens, place, pre_norm):
    model = tiny_transformer(causal=False, pre_norm=pre_norm)
    other = tokens.clone()
    other[:, place] = model.mask_id
    before, after = model(tokens, some_labels()), model(other, some_labels())
    assert changed_positions(before, after) == list(range(N))


@pytest.mark.parametrize("causal", [False, True])
def test_every_position_sees_the_class_and_no_class_differs_from_all(causal):
    model, tokens = tiny_transformer(causal=causal), some_tokens()
    answers = [model(tokens, torch.full((B,), label)) for label in range(C + 1)]
    for one in range(C + 1):
        for other in range(one):
            assert changed_positions(answers[one], answers[other]) == list(range(N))


@pytest.mark.parametrize("causal", [False, True])
def test_samples_of_a_batch_do_not_see_each_other(causal):
    model, tokens, labels = tiny_transformer(causal=causal), some_tokens(), some_labels()
    alone = torch.cat([model(tokens[i : i + 1], labels[i : i + 1]) for i in range(B)])
    assert model(tokens, labels).allclose(alone, atol=1e-5)


def test_the_same_token_has_another_effect_at_another_position():
    model = tiny_transformer()
    logits = model(torch.full((B, N), model.mask_id), some_labels())
    for place in range(1, N):
        assert not logits[:, place].allclose(logits[:, 0], atol=1e-3)


@model_runs
@given(tokens=codes(K, B, N))
def test_a_causal_model_reads_the_class_then_all_tokens_but_the_last(tokens):
    model, labels = tiny_transformer(causal=True), some_labels()
    read = model.trunk(shift_right(tokens, (K + labels)[:, None]))
    assert model(tokens, labels).equal(model.logits(read))


# --- What can be predicted ---


@pytest.mark.parametrize("causal", [False, True])
def test_logits_are_only_over_codes_even_if_mask_and_classes_would_win(causal):
    model, tokens, labels = tiny_transformer(causal=causal), some_tokens(), some_labels()
    expected = model(tokens, labels)
    assert expected.shape == (B, N, K) and model.mask_id == K + C
    with torch.no_grad():
        model.bias[K:] = 1e6
    assert model(tokens, labels).equal(expected)


@model_runs
@given(tokens=codes(K, B, N), where=codes(N, B, 4), causal=st.booleans())
def test_logits_of_chosen_positions_are_those_of_all_positions(tokens, where, causal):
    model, labels = tiny_transformer(causal=causal), some_labels()
    everywhere, chosen = model(tokens, labels), model(tokens, labels, where)
    assert chosen.shape == (B, 4, K)
    assert chosen.allclose(torch.stack([row[places] for row, places in zip(everywhere, where)]), atol=1e-5)


def test_input_and_output_share_one_embedding_table():
    model, tokens, labels = tiny_transformer(), some_tokens(), some_labels()
    tables = [name for name, p in model.named_parameters() if p.shape == (K + C + 1, model.width)]
    assert tables == ["embedding.weight"]
    x = model.trunk(torch.cat([(K + labels)[:, None], tokens], 1))[:, 1:]
    expected = model.head(x) @ model.embedding.weight[:K].T + model.bias[:K]
    assert model(tokens, labels).allclose(expected, atol=1e-5)


# --- Parameters ---


@model_runs
@given(
    num_codes=st.integers(2, 20), num_classes=st.integers(1, 5), num_tokens=st.integers(1, 9), heads=st.integers(1, 3),
    depth=st.integers(1, 3), mlp=st.integers(1, 40), pre_norm=st.booleans(), causal=st.booleans(),
)  # fmt: skip
def test_the_number_of_parameters_is_the_paper_s_sum(
    num_codes, num_classes, num_tokens, heads, depth, mlp, pre_norm, causal
):
    width = 8 * heads
    shape = (num_codes, num_classes, num_tokens, width, depth, heads, mlp)
    model = Transformer(
        *shape, pre_norm=pre_norm, causal=causal
    )  # the same for either order of norms and either direction
    ids = num_codes + num_classes + 1
    block = 4 * (width * width + width) + 2 * width * mlp + mlp + width + 4 * width
    expected = (ids + num_tokens + 1) * width + 2 * width + depth * block + width * width + width + 2 * width + ids
    assert sum(p.numel() for p in model.parameters()) == expected


def test_pre_norm_and_post_norm_are_different_models_with_the_same_parameters():
    after, before = (tiny_transformer(pre_norm=pre_norm) for pre_norm in (False, True))
    before.load_state_dict(after.state_dict())
    assert not before(some_tokens(), some_labels()).allclose(after(some_tokens(), some_labels()), atol=1e-2)


def test_initial_weights_are_small_and_within_two_standard_deviations():
    torch.manual_seed(0)
    model = Transformer(100, 10, 64, 64, 2, 4, 256)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert parameter.abs().max() <= 0.04 + 1e-6, name
            assert parameter.std().item() == pytest.approx(0.0176, rel=0.05), name  # 0.02, minus the cut tails
        elif name.endswith("bias"):
            assert not parameter.any(), name


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_every_parameter_learns_except_the_rows_of_unused_ids(causal, pre_norm):
    model = tiny_transformer(causal=causal, pre_norm=pre_norm)
    model(some_tokens(), some_labels()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name
    assert not model.bias.grad[K:].any() and not model.embedding.weight.grad[K + 1].any()  # class 1 was not used


def test_dropout_is_only_used_in_training():
    model, tokens, labels = tiny_transformer(dropout=0.5), some_tokens(), some_labels()
    assert model(tokens, labels).equal(model(tokens, labels))
    model.train()
    assert not model(tokens, labels).equal(model(tokens, labels))


def test_a_width_that_heads_do_not_divide_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="width 16 is not a multiple of the number of heads 3"):
        tiny_transformer(heads=3)


# --- The cache ---


@model_runs
@given(tokens=codes(K, B, N), first=st.integers(1, N), pre_norm=st.booleans())
def test_reading_one_by_one_from_a_cache_is_reading_all_at_once(tokens, first, pre_norm):
    model = tiny_transformer(causal=True, pre_norm=pre_norm)
    ids = shift_right(tokens, (K + some_labels())[:, None])
    cache = KVCache(model, B)
    parts = [model.trunk(ids[:, :first], cache)]
    for place in range(first, N):
        assert cache.length == place
        parts.append(model.trunk(ids[:, place : place + 1], cache))
    assert torch.cat(parts, 1).allclose(model.trunk(ids), atol=1e-5)


# --- Settings of the release ---


@pytest.mark.parametrize(("eps", "gelu", "approximate"), [(1e-12, "tanh", "tanh"), (1e-6, "erf", "none")])
def test_every_norm_and_every_gelu_follow_the_settings_which_are_saved_with_the_model(tmp_path, eps, gelu, approximate):
    tiny_transformer(norm_eps=eps, gelu=gelu).save_pretrained(tmp_path)
    modules = list(Transformer.from_pretrained(tmp_path).modules())
    assert [each.eps for each in modules if isinstance(each, torch.nn.LayerNorm)] == [eps] * 6
    assert [each.approximate for each in modules if isinstance(each, torch.nn.GELU)] == [approximate] * 3
