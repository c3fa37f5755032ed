"""Iterative parallel decoding, step by step (lesson 5; paper section 3.2).

Laws of the functions that students write are in laws/test_lesson_5.py.
"""

from collections.abc import Callable
from itertools import pairwise
from unittest.mock import patch

import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels, step_counts, unknown
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import masks, normal, schedule_names, seeds
from tiny import FixedLogits, generator, tiny_transformer

from minimaskgit import decoding
from minimaskgit.decoding import (
    TEMPERATURE,
    decode,
    decode_steps,
    gumbel_noise,
    mask_plan,
    reference_decode,
    sample_categorical,
)
from minimaskgit.schedules import SCHEDULES, cosine

model_runs = settings(max_examples=30)


def handed_to(function: str, run: Callable[[], object]) -> list[tuple]:
    """The arguments of each call to one of decoding's own functions during `run`."""
    calls, real = [], getattr(decoding, function)

    def listen(*arguments):
        calls.append(arguments)
        return real(*arguments)

    with patch.object(decoding, function, listen):
        run()
    return calls


# --- Drawing tokens ---


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_codes_are_drawn_with_the_probabilities_of_the_softmax(scale):
    logits = scale * torch.randn(7, generator=generator(0))
    drawn = sample_categorical(logits.expand(20_000, 7), generator(1))
    assert stats.chisquare(drawn.bincount(minlength=7), 20_000 * logits.double().softmax(-1)).pvalue > 1e-3


def test_neighbouring_draws_are_independent():
    drawn = sample_categorical(torch.zeros(20_000, 2, 3), generator(0))
    table = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9).view(3, 3)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3


@given(logits=normal(50, K), possible=masks(50, K), seed=seeds)
def test_a_code_of_probability_zero_is_never_drawn(logits, possible, seed):
    drawn = sample_categorical(logits.masked_fill(~possible, -torch.inf), generator(seed))
    assert possible.gather(1, drawn[:, None]).all()


@given(seed=seeds, size=st.sampled_from([3, 100, 1024]), half=st.booleans())
def test_a_possible_code_is_drawn_even_at_the_ends_of_the_unit_interval(seed, size, half):
    logits = 5 * torch.randn(2, size, generator=generator(seed))
    logits[:, [0, -1]] = -torch.inf
    logits = logits.bfloat16() if half else logits
    for u in (0.0, 1 - 2**-24):  # the smallest and the largest values of torch.rand
        with patch.object(torch, "rand", lambda *shape, u=u, **_: torch.full(shape, u)):
            drawn = sample_categorical(logits)
        assert drawn.shape == (2,) and ((drawn > 0) & (drawn < size - 1)).all()


def test_gumbel_noise_is_gumbel_distributed_and_finite_at_its_ends():
    noise = gumbel_noise((20_000,), torch.device("cpu"), generator(0))
    assert stats.kstest(noise.numpy(), "gumbel_r").pvalue > 1e-3
    for u in (0.0, 1 - 2**-24):
        with patch.object(torch, "rand", lambda shape, u=u, **_: torch.full(shape, u)):
            assert gumbel_noise((3,), torch.device("cpu")).isfinite().all()


# --- How many stay masked ---


@given(name=schedule_names, start=st.lists(st.integers(0, 300), min_size=1, max_size=5), steps=st.integers(1, 40))
def test_each_sample_s_plan_falls_strictly_until_nothing_is_masked(name, start, steps):
    plan = mask_plan(torch.tensor(start), steps, SCHEDULES[name])
    assert plan.shape == (steps, len(start)) and not plan[-1].any()
    for u, counts in zip(start, plan.T.tolist()):
        for before, after in pairwise([u, *counts]):
            assert 0 <= after < before or after == before == 0
        assert counts == mask_plan(torch.tensor([u]), steps, SCHEDULES[name])[:, 0].tolist()


# --- The loop ---


@model_runs
@given(tokens=known_regions, steps=step_counts, name=schedule_names, guidance=st.sampled_from([0.0, 2.0]), seed=seeds)
def test_known_tokens_never_change_and_every_result_is_a_code(tokens, steps, name, guidance, seed):
    options = {"steps": steps, "schedule": SCHEDULES[name], "guidance": guidance, "generator": generator(seed)}
    known, given_tokens = ~unknown(tokens), tokens.clone()
    for step in decode_steps(MODEL, some_labels(tokens), tokens, **options):
        for canvas in (step.sampled, step.tokens):
            assert canvas[known].equal(given_tokens[known])
        assert ((step.sampled >= 0) & (step.sampled < K)).all()
        assert ((step.tokens >= 0) & (step.tokens < K))[~step.masked].all()
    assert step.tokens.equal(step.sampled) and not step.masked.any()
    assert tokens.equal(given_tokens)  # the caller's canvas is not changed either


@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("steps", range(1, N + 1))
def test_mask_and_class_ids_are_never_decoded_even_with_the_highest_logits(steps, guidance):
    model = tiny_transformer()
    with torch.no_grad():
        model.bias[K:] = 1e6
    for step in decode_steps(model, torch.arange(4), steps=steps, guidance=guidance, generator=generator(steps)):
        assert (step.sampled < K).all()
    assert (step.tokens < K).all()


@model_runs
@given(
    labels=st.lists(st.integers(0, MODEL.num_classes), min_size=1, max_size=5), steps=step_counts, name=schedule_names
)
def test_the_fast_loop_decodes_what_the_reference_does(labels, steps, name):
    surest = patch.object(
        decoding, "sample_categorical", lambda logits, _: logits.argmax(-1)
    )  # leave nothing to chance
    with surest:
        expected = reference_decode(MODEL, torch.tensor(labels), steps, SCHEDULES[name], temperature=0)
        found = decode(MODEL, torch.tensor(labels), steps=steps, schedule=SCHEDULES[name], temperature=0)
    assert found.equal(expected)


def test_the_reference_draws_as_the_fast_loop_does():
    model, labels = tiny_transformer(), torch.zeros(3000, dtype=torch.long)
    with torch.no_grad():
        model.bias[:K] = torch.linspace(0, 3, K)  # some tokens are likelier than others
    counts = [
        torch.stack([(tokens == code).sum(0) for code in range(K)])
        for tokens in (
            reference_decode(model, labels, 3, generator=generator(0)),
            decode(model, labels, steps=3, generator=generator(1)),
        )
    ]  # (K, N) each
    for reference, fast in zip(*(count.T for count in counts)):
        assert stats.chi2_contingency(torch.stack([reference, fast]).numpy() + 1).pvalue > 1e-4


@model_runs
@given(tokens=known_regions, steps=step_counts, name=schedule_names, seed=seeds)
def test_after_every_step_each_sample_has_as_many_masked_tokens_as_its_plan(tokens, steps, name, seed):
    run = decode_steps(
        MODEL, some_labels(tokens), tokens, steps=steps, schedule=SCHEDULES[name], generator=generator(seed)
    )
    masked = torch.stack([step.masked.sum(1) for step in run], dim=1)  # (B, T)
    for counts, u in zip(masked, unknown(tokens).sum(1)):
        assert counts.tolist() == mask_plan(u[None], steps, SCHEDULES[name])[:, 0].tolist()


@model_runs
@given(tokens=known_regions, steps=step_counts, name=schedule_names, seed=seeds)
def test_a_fixed_token_stays_to_the_end(tokens, steps, name, seed):
    options = {"steps": steps, "schedule": SCHEDULES[name], "generator": generator(seed)}
    run = list(decode_steps(MODEL, some_labels(tokens), tokens, **options))
    for step in run:
        assert step.masked.equal(unknown(step.tokens))
        assert step.tokens[~step.masked].equal(step.sampled[~step.masked])
        assert run[-1].tokens[~step.masked].equal(step.tokens[~step.masked])


@model_runs
@given(tokens=known_regions, steps=step_counts, seed=seeds)
def test_the_model_s_input_is_exactly_the_previous_step_s_result(tokens, steps, seed):
    model = FixedLogits(torch.randn(N, K, generator=generator(seed)))
    run = list(decode_steps(model, some_labels(tokens), tokens, steps=steps, generator=generator(seed)))
    assert len(model.seen) == steps
    for seen, left in zip(model.seen, [tokens, *(step.tokens for step in run)]):
        assert seen.equal(left)


@pytest.mark.parametrize("steps", [1, 8, 12])
@pytest.mark.parametrize("temperature", [TEMPERATURE, 1.0])
@pytest.mark.parametrize("loop, name", [(decode, "steps"), (reference_decode, "T")])
def test_the_choice_temperature_falls_linearly_to_zero(steps, temperature, loop, name):
    calls = handed_to("confidence", lambda: loop(MODEL, torch.tensor([0]), temperature=temperature, **{name: steps}))
    taus = [tau for _, _, _, tau, _ in calls]
    assert taus == pytest.approx([temperature * (1 - (t + 1) / steps) for t in range(steps)])
    assert TEMPERATURE == 4.5


def test_fresh_gumbel_noise_is_drawn_for_every_token_and_step():
    calls = handed_to("confidence", lambda: decode(FixedLogits(torch.zeros(400, 2)), torch.arange(4), steps=5))
    unknown = [400, *mask_plan(torch.tensor([400]), 5, cosine)[:-1, 0].tolist()]
    assert [noise.shape for *_, noise in calls] == [(4, count) for count in unknown]
    noise = torch.cat([noise.flatten() for *_, noise in calls])
    assert len(noise.unique()) > 0.99 * noise.numel()
    assert stats.kstest(noise.flatten().numpy(), "gumbel_r").pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.0, TEMPERATURE, 100.0])
def test_tokens_are_sampled_at_temperature_1_whatever_the_choice_temperature(temperature):
    logits = 2 * torch.randn(6, generator=generator(0))
    model = FixedLogits(logits.expand(2500, 6))
    first = next(decode_steps(model, torch.zeros(8, dtype=torch.long), temperature=temperature, generator=generator(1)))
    expected = 20_000 * logits.double().softmax(-1)
    assert stats.chisquare(first.sampled.flatten().bincount(minlength=6), expected).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.0, TEMPERATURE])
def test_tokens_are_sampled_from_the_model_s_unchanged_logits(temperature):
    answer = torch.randn(N, K, generator=generator(0))
    calls = handed_to(
        "sample_categorical", lambda: decode(FixedLogits(answer), torch.arange(3), temperature=temperature)
    )
    rows = {tuple(row) for row in answer.tolist()}
    assert len(calls) == 8
    assert all(tuple(row) in rows for logits, *_ in calls for row in logits.flatten(0, 1).tolist())


def test_logits_are_computed_for_unknown_positions_only():
    tokens = torch.zeros(2, N, dtype=torch.long)
    tokens[0, 2:5] = tokens[1, 4] = MODEL.mask_id
    with patch.object(MODEL, "forward", wraps=MODEL.forward) as passes:
        decode(MODEL, torch.arange(2), tokens, steps=3)
    where = [call.args[2] for call in passes.call_args_list]
    assert (
        set(where[0][0].tolist()) == {2, 3, 4} and 4 in where[0][1]
    )  # the second sample is filled up with known positions
    assert [positions.shape[1] for positions in where] == [3, 2, 1]


def test_without_noise_the_most_confident_tokens_are_fixed_and_with_much_noise_any():
    logits = torch.randn(64, K, generator=generator(0))
    labels = torch.zeros(200, dtype=torch.long)

    def most_confident_fixed(temperature: float) -> float:
        """The number of samples whose first step leaves no masked token with more confidence than a fixed one."""
        step = next(decode_steps(FixedLogits(logits), labels, temperature=temperature, generator=generator(1)))
        sure = logits.log_softmax(-1).expand(200, -1, -1).gather(2, step.sampled[..., None])[..., 0]
        least_fixed = sure.masked_fill(step.masked, torch.inf).amin(1)
        most_masked = sure.masked_fill(~step.masked, -torch.inf).amax(1)
        return (least_fixed >= most_masked).double().mean().item()

    assert most_confident_fixed(0.0) == 1 and most_confident_fixed(100.0) < 0.1


# --- Seeds, classes and the blank canvas ---


@model_runs
@given(seed=seeds, steps=step_counts)
def test_a_seed_repeats_the_pictures_and_leaves_the_global_generator_alone(seed, steps):
    state, labels = torch.get_rng_state(), torch.arange(4)
    first, again = (decode(MODEL, labels, steps=steps, generator=generator(seed)) for _ in range(2))
    assert first.equal(again) and torch.get_rng_state().equal(state)


def test_other_seeds_and_other_samples_give_other_pictures():
    labels = torch.zeros(10, dtype=torch.long)
    first, other = (decode(MODEL, labels, generator=generator(seed)) for seed in (0, 1))
    assert not first.equal(other) and len(first.unique(dim=0)) > 5


@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_a_blank_canvas_computes_its_first_pass_once_per_class_with_the_same_result(guidance):
    labels = torch.tensor([2, 0, 2, 3, 0, 2])
    blank = torch.full((6, N), MODEL.mask_id)
    options = {"guidance": guidance, "steps": 4}
    with patch.object(MODEL, "forward", wraps=MODEL.forward) as passes:
        shared = handed_to("confidence", lambda: decode(MODEL, labels, generator=generator(0), **options))
    unshared = handed_to("confidence", lambda: decode(MODEL, labels, blank, generator=generator(0), **options))
    for (logits, tokens, *_), (other_logits, other_tokens, *_) in zip(shared, unshared):
        assert logits.shape == other_logits.shape and logits.allclose(other_logits, atol=1e-4)
        assert tokens.equal(other_tokens)
    batches = [len(call.args[0]) for call in passes.call_args_list]
    each = 1 if guidance == 0 else 2  # with guidance every pass also has a part without class
    assert batches == [3 * each, 6 * each, 6 * each, 6 * each]


def test_the_model_gets_the_requested_class():
    model = tiny_transformer()
    with torch.no_grad():  # predict the code with the class's number, from the class alone
        model.embedding.weight.zero_()
        model.embedding.weight[: C + 1, : C + 1] = 50 * torch.eye(C + 1)
    model.trunk = lambda ids: torch.nn.functional.one_hot(ids[:, :1] - K, model.width).float().expand(-1, N + 1, -1)
    model.head = torch.nn.Identity()
    labels = torch.tensor([2, 0, 3, 1])
    assert decode(model, labels, generator=generator(0)).equal(labels[:, None].expand(4, N))


@pytest.mark.parametrize("guidance", [0.5, 3.0])
def test_guidance_moves_the_logits_away_from_those_without_class(guidance):
    tokens, labels = torch.full((2, N), MODEL.mask_id), torch.tensor([0, 1])
    with_class, without = MODEL(tokens, labels), MODEL(tokens, torch.tensor([C, C]))
    expected = (1 + guidance) * with_class - guidance * without
    calls = handed_to("sample_categorical", lambda: decode(MODEL, labels, tokens, guidance=guidance))
    assert calls[0][0].allclose(expected, atol=1e-4)


@model_runs
@given(start_step=st.integers(0, 11), seed=seeds)
def test_decoding_may_start_later_in_the_schedule_and_still_completes(start_step, seed):
    options = {"steps": 12, "start_step": start_step, "generator": generator(seed)}
    run = []
    calls = handed_to("confidence", lambda: run.extend(decode_steps(MODEL, torch.arange(4), **options)))
    plan = mask_plan(torch.full((4,), N), 12, cosine, start_step)
    assert [step.masked.sum(1).tolist() for step in run] == plan.tolist() and not run[-1].masked.any()
    taus = [tau for _, _, _, tau, _ in calls]
    assert taus == pytest.approx([4.5 * (1 - (t + 1) / 12) for t in range(start_step, 12)])


def test_a_later_start_fixes_more_tokens_in_the_first_step_and_then_the_same():
    unknown_at_start = torch.tensor([256, 70])
    assert mask_plan(unknown_at_start, 12, cosine, 2).equal(mask_plan(unknown_at_start, 12, cosine)[2:])


def test_a_complete_canvas_is_returned_unchanged():
    tokens = torch.randint(K, (3, N), generator=generator(0))
    assert decode(MODEL, torch.arange(3), tokens).equal(tokens)


def test_decoding_computes_no_gradients():
    assert not any(step.tokens.requires_grad for step in decode_steps(MODEL, torch.arange(2)))
    calls = handed_to("confidence", lambda: decode(MODEL, torch.arange(2)))
    assert not any(logits.requires_grad for logits, *_ in calls)
