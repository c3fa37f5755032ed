"""Laws of lesson 5: how sure, how many, which ones, and the loop of parallel decoding (paper section 3.2).

`decode` is judged from outside, by what it shows the model and by what it gives, however it is written.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import oracles
import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels, step_counts, unknown
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sizes import assert_no_size_is_written_in
from strategies import codes, like, masks, schedule_names, seeds, small
from tiny import FixedLogits, Telling, generator, tiny_transformer

from minimaskgit import decoding
from minimaskgit.decoding import mask_plan
from minimaskgit.schedules import SCHEDULES, cosine, linear, square_root

SURE = "lesson 5, 'How sure': log p(token) + temperature x Gumbel noise; +inf where known (paper section 3.2, step 2)"
HOW_MANY = "lesson 5, 'How many stay masked': floor(U gamma((t+1)/T)) in all, none after the last (section 3.2, step 3)"
WHICH = "lesson 5, 'Which ones': the n least confident of each sample get [MASK] again (paper section 3.2, step 4)"
LOOP = "lesson 5, 'The loop': predict, sample, how sure and how many, re-mask; T times (paper section 3.2)"

LESSON = {
    "confidence": (decoding, SURE),
    "num_to_mask": (decoding, HOW_MANY),
    "remask": (decoding, WHICH),
    "decode": (decoding, LOOP),
}

model_runs = settings(max_examples=20)
few = st.integers(1, 9)


@st.composite
def samples_with_noise(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """logits (B, N, K), tokens (B, N), known bool (B, N) and noise (B, N)."""
    logits = draw(small(2, 4, 5))
    tokens = draw(codes(logits.shape[-1], *logits.shape[:-1]))
    return logits, tokens, draw(masks(*tokens.shape)), draw(like(tokens))


@st.composite
def ranked_canvases(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """tokens (B, N), confidences (B, N), no two of which are equal, and counts (B,) to mask."""
    sure = draw(small(3, 9))
    batch, num_tokens = sure.shape
    counts = draw(st.lists(st.integers(0, num_tokens), min_size=batch, max_size=batch))
    sure = sure + 0.001 * torch.arange(num_tokens)
    return draw(codes(K, batch, num_tokens)), sure, torch.tensor(counts)


# --- All ---


@pytest.mark.parametrize("name", list(LESSON))
def test_no_size_is_written_into_the_function(impl, name):
    sizes = {f"N = {n}, K = {k}": partial(right_with, impl, name, n, k) for n, k in ((5, 8), (64, 256))}
    assert_no_size_is_written_in(sizes)


def right_with(impl, name: str, num_tokens: int, num_codes: int) -> bool:
    """Whether an answer is right for N tokens of K codes."""
    tokens = torch.arange(num_tokens).flip(0)[None] % num_codes  # (1, N)
    if name == "confidence":
        logits, none = torch.randn(1, num_tokens, num_codes, generator=generator(0)), torch.zeros_like(tokens)
        log_p = np.take_along_axis(oracles.log_softmax(logits), tokens.numpy()[..., None], -1)[..., 0]
        return np.allclose(impl.confidence(logits, tokens, none.bool(), 1.0, none.float()).numpy(), log_p, atol=1e-4)
    if name == "num_to_mask":
        start = torch.tensor([num_tokens])
        # One token a step: U gamma is a whole number at both sizes, so that a wrong rounding is not taken for a size.
        return impl.num_to_mask(start, start, 1, num_tokens, linear).tolist() == [num_tokens - 2]
    if name == "remask":
        left = impl.remask(tokens, -tokens.float(), torch.tensor([2]), num_codes)  # the first two
        return left.equal(torch.cat([torch.full((1, 2), num_codes), tokens[:, 2:]], dim=1))
    model = FixedLogits(50 * torch.eye(num_codes)[tokens[0]])
    return impl.decode(model, torch.tensor([0]), steps=2, generator=generator(0)).equal(tokens)


# --- How sure ---


@pytest.mark.law("confidence")
@given(drawn=samples_with_noise(), tau=st.sampled_from([0.0, 0.5, 4.5]))
def test_confidence_is_log_probability_plus_noise_and_infinite_where_known(impl, drawn, tau):
    logits, tokens, known, noise = drawn
    log_p = np.take_along_axis(oracles.log_softmax(logits), tokens.numpy()[..., None], -1)[..., 0]
    expected = np.where(known.numpy(), np.inf, log_p + tau * noise.double().numpy())
    found = impl.confidence(logits, tokens, known, tau, noise)
    assert found.shape == tokens.shape, oracles.shape(found, tokens.shape)
    fits = np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert fits, oracles.instead(found, expected)


# --- How many stay masked ---


@pytest.mark.law("num_to_mask")
@given(
    name=schedule_names,
    samples=st.lists(
        st.tuples(few | st.integers(1, 300), st.just(0) | few | st.integers(1, 300)), min_size=1, max_size=5
    ),
    progress=st.integers(1, 40).flatmap(lambda steps: st.tuples(st.integers(0, steps - 1), st.just(steps))),
)
def test_a_step_keeps_the_floor_of_u_gamma_masked_but_always_fixes_one_and_leaves_one(impl, name, samples, progress):
    start = np.array([u for u, _ in samples])
    now = np.array([min(u, n) for u, n in samples])  # no more than at the start
    step, steps = progress
    counts = impl.num_to_mask(torch.tensor(start), torch.tensor(now), step, steps, SCHEDULES[name])
    assert counts.dtype == torch.int64, oracles.dtype(counts, torch.int64)
    assert counts.shape == (len(samples),), oracles.shape(counts, (len(samples),))
    if step == steps - 1:
        assert not counts.any(), f"after the last step: returned {counts.tolist()}; expected 0 everywhere"
        return
    exact = start * oracles.GAMMA[name]((step + 1) / steps, np.maximum(2, start))
    # Where U gamma is an integer but for rounding, either neighbour will do.
    least, most = (np.maximum(0, np.minimum(np.maximum(1, np.floor(exact + e)), now - 1)) for e in (-1e-4, 1e-4))
    fits = (least <= counts.numpy()) & (counts.numpy() <= most)
    assert fits.all(), f"returned {counts.tolist()}; expected {most.astype(int).tolist()}"


@pytest.mark.law("num_to_mask")
def test_before_the_last_step_one_token_stays_masked_where_two_are_unknown(impl):
    start, now = torch.tensor([3, 3, 3]), torch.tensor([3, 2, 1])
    found = impl.num_to_mask(start, now, 6, 8, linear).tolist()  # U gamma is 3/8
    assert found == [1, 1, 0], f"of {now.tolist()} unknown tokens: returned {found}; expected [1, 1, 0]"


@pytest.mark.law("num_to_mask")
def test_where_u_gamma_is_a_whole_number_just_so_many_stay_masked(impl):
    start = torch.tensor([8, 80])
    found = [impl.num_to_mask(start, start, step, 4, linear).tolist() for step in range(4)]
    expected = [[6, 60], [4, 40], [2, 20], [0, 0]]
    assert found == expected, f"returned {found} in four steps; expected {expected}"


@pytest.mark.law("num_to_mask")
@pytest.mark.parametrize(
    ("steps", "fixed"),
    [(8, [5, 15, 24, 31, 39, 45, 48, 49]), (12, [3, 6, 11, 15, 18, 22, 26, 27, 31, 31, 33, 33]), (1, [256])],
)
def test_under_the_cosine_256_tokens_are_fixed_few_at_first_and_many_at_last(impl, steps, fixed):
    start = torch.tensor([256])
    masked = [start]
    for step in range(steps):
        masked.append(impl.num_to_mask(start, masked[-1], step, steps, cosine))
    found = [(before - after).item() for before, after in pairwise(masked)]
    assert found == fixed, f"the steps fix {found} tokens; expected {fixed}"


# --- Which tokens are masked again ---


@pytest.mark.law("remask")
@given(canvas=ranked_canvases())
def test_the_least_confident_tokens_are_masked_again_and_the_others_stay(impl, canvas):
    tokens, sure, counts = canvas
    left = impl.remask(tokens, sure, counts, MODEL.mask_id)
    assert left.shape == tokens.shape, oracles.shape(left, tokens.shape)
    assert left.dtype == tokens.dtype, oracles.dtype(left, tokens.dtype)
    for row, before, confidences, count in zip(left, tokens, sure, counts.tolist(), strict=True):
        masked = row == MODEL.mask_id
        assert masked.sum() == count, f"{masked.sum()} tokens of a sample are masked; its count is {count}"
        assert row[~masked].equal(before[~masked]), "a token that is not masked has changed"
        chosen, least = torch.where(masked)[0].tolist(), sorted(confidences.argsort()[:count].tolist())
        assert chosen == least, f"positions {chosen} are masked; {least} are the least confident"


@pytest.mark.law("remask")
def test_among_equally_confident_tokens_still_exactly_the_count_is_masked(impl):
    left = impl.remask(torch.zeros(3, N, dtype=torch.long), torch.zeros(3, N), torch.tensor([0, 4, 9]), MODEL.mask_id)
    masked = unknown(left).sum(1).tolist()
    assert masked == [0, 4, 9], f"{masked} tokens are masked; the counts are [0, 4, 9]"


@pytest.mark.law("remask")
@given(unknown=masks(3, 7))
def test_what_is_known_and_so_infinitely_sure_is_never_masked(impl, unknown):
    sure = torch.zeros(3, 7).masked_fill(~unknown, torch.inf)
    left = impl.remask(torch.zeros(3, 7, dtype=torch.long), sure, unknown.sum(1), 99)
    assert (left == 99).equal(unknown), "a known token was masked"


# --- The loop ---


@pytest.mark.law("decode")
@model_runs
@given(tokens=known_regions, steps=step_counts, name=schedule_names, draw=seeds)
def test_known_tokens_never_change_and_no_mask_or_class_comes_out(impl, tokens, steps, name, draw):
    known = ~unknown(tokens)
    options = {"steps": steps, "schedule": SCHEDULES[name], "generator": generator(draw)}
    decoded = impl.decode(MODEL, some_labels(tokens), tokens, **options)
    assert decoded.shape == tokens.shape, oracles.shape(decoded, tokens.shape)
    assert decoded.dtype == tokens.dtype, oracles.dtype(decoded, tokens.dtype)
    assert decoded[known].equal(tokens[known]), f"known tokens: {oracles.instead(decoded[known], tokens[known])}"
    assert not unknown(decoded).any(), f"{unknown(decoded).sum()} [MASK] are left in the answer"
    assert ((decoded >= 0) & (decoded < K)).all(), f"returned the ids {decoded.unique().tolist()} of {K} codes"


@pytest.mark.law("decode")
@pytest.mark.parametrize("steps", [1, 3, N])
def test_mask_and_classes_do_not_come_out_even_if_they_would_win(impl, steps):
    model = tiny_transformer()
    with torch.no_grad():
        model.bias[K:] = 1e6
    decoded = impl.decode(model, torch.arange(4), steps=steps, generator=generator(steps))
    assert (decoded < K).all(), f"returned the ids {decoded.unique().tolist()} of {K} codes"


@pytest.mark.law("decode")
@model_runs
@given(tokens=known_regions, steps=step_counts, name=schedule_names, draw=seeds)
def test_each_of_t_passes_shows_the_model_as_many_masks_as_each_sample_s_plan_says(impl, tokens, steps, name, draw):
    model = FixedLogits(torch.randn(N, K, generator=generator(draw)))
    options = {"steps": steps, "schedule": SCHEDULES[name], "generator": generator(draw)}
    impl.decode(model, some_labels(tokens), tokens, **options)
    assert len(model.seen) == steps, f"the model is called {len(model.seen)} times; expected T = {steps}"
    start = unknown(tokens).sum(1)
    plan = torch.cat([start[None], mask_plan(start, steps, SCHEDULES[name])[:-1]])  # (T, B) before each pass
    for step, (seen, expected) in enumerate(zip(model.seen, plan)):
        masked = unknown(seen).sum(1)
        assert masked.equal(expected), f"pass {step} shows {masked.tolist()} masks; expected {expected.tolist()}"


@pytest.mark.law("decode")
@model_runs
@given(tokens=known_regions, steps=step_counts, draw=seeds)
def test_a_token_once_fixed_stays_to_the_end(impl, tokens, steps, draw):
    model = FixedLogits(torch.randn(N, K, generator=generator(draw)))
    decoded = impl.decode(model, some_labels(tokens), tokens, steps=steps, generator=generator(draw))
    for step, seen in enumerate(model.seen):
        fixed = ~unknown(seen)
        assert decoded[fixed].equal(seen[fixed]), f"a token fixed before pass {step} has changed in the end"


@pytest.mark.law("decode")
@model_runs
@given(tokens=known_regions, steps=step_counts, draw=seeds)
def test_each_pass_fixes_what_the_model_says_of_the_canvas_that_it_is_shown(impl, tokens, steps, draw):
    # The model is sure of one code everywhere: the number of tokens that it is shown.
    model = Telling(50 * torch.eye(K)[: N + 1, None].expand(-1, N, -1))
    decoded = impl.decode(model, some_labels(tokens), tokens, steps=steps, generator=generator(draw))
    for step, (seen, after) in enumerate(pairwise([*model.seen, decoded])):
        fixed = unknown(seen) & ~unknown(after)
        said = (~unknown(seen)).sum(1, keepdim=True).expand_as(seen)
        assert after[fixed].equal(said[fixed]), f"pass {step} fixes: {oracles.instead(after[fixed], said[fixed])}"


@pytest.mark.law("decode")
def test_tokens_are_sampled_at_temperature_1_however_large_the_choice_temperature(impl, seed):
    # So much choice noise that which tokens are kept no longer depends on what was sampled.
    logits = 2 * torch.randn(6, generator=generator(seed))
    model = FixedLogits(logits.expand(1000, 6))
    options = {"steps": 4, "temperature": 1e9, "generator": generator(seed + 1)}
    drawn = impl.decode(model, torch.zeros(20, dtype=torch.long), **options).flatten().bincount(minlength=6)
    expected = 20_000 * logits.double().softmax(-1)
    assert stats.chisquare(drawn, expected).pvalue > 1e-6, f"drawn {drawn.tolist()}; expected {expected.int().tolist()}"


@pytest.mark.law("decode")
def test_the_choice_temperature_falls_linearly_to_zero(impl, seed):
    # Position 0 is certain, the others guess among K codes, one token is fixed a step. With Gumbel noise at
    # temperature tau the certain one of M is fixed with probability 1 / (1 + (M - 1) K^(-1 / tau)).
    samples, steps, num_codes, temperature = 800, 4, 16, 8.0
    logits = torch.zeros(steps, num_codes)
    logits[0, 0] = 50
    model = FixedLogits(logits)
    options = {"steps": steps, "schedule": linear, "temperature": temperature, "generator": generator(seed)}
    canvas = torch.full((samples, steps), model.mask_id)
    impl.decode(model, torch.zeros(samples, dtype=torch.long), canvas, **options)
    open_before = [canvas[:, 0] == model.mask_id, *(seen[:, 0] == model.mask_id for seen in model.seen[1:])]
    found = []  # step by step: how likely so many or so few are, if the law holds, and in words
    for t, (before, after) in enumerate(pairwise(open_before)):
        tau = temperature * (1 - (t + 1) / steps)
        expected = 1 / (1 + (steps - t - 1) * num_codes ** (-1 / tau))
        trials, fixed = before.sum().item(), (before & ~after).sum().item()
        told = f"step {t}: the sure token is fixed in {fixed / max(1, trials):.2f}, expected {expected:.2f}"
        found.append((stats.binomtest(fixed, trials, expected).pvalue if trials else 0.0, told))
    pvalue = stats.combine_pvalues([max(p, 1e-300) for p, _ in found]).pvalue
    assert pvalue > 1e-6, min(found)[1]


@pytest.mark.law("decode")
def test_the_choice_noise_of_each_pass_is_drawn_anew(impl, seed):
    # Place 0 hesitates in the first pass and so stays open, with two of the eight others, chosen by noise alone. From
    # then on all three are sure: noise alone chooses again. If it were the same noise, place 0 would nearly always win.
    # Whoever is left for the last pass, in which eight are shown, gets code 15.
    samples, sure = 300, 50 * torch.eye(16)
    logits = sure[:9].repeat(10, 1, 1)  # (N + 1, N, K)
    logits[0, 0], logits[8] = 0, sure[15]
    model = Telling(logits)
    options = {"steps": 3, "schedule": square_root, "temperature": 0.1, "generator": generator(seed)}
    canvas = torch.full((samples, 9), model.mask_id)
    decoded = impl.decode(model, torch.zeros(samples, dtype=torch.long), canvas, **options)
    left = (decoded[:, 0] == 15).sum().item()
    said = f"one of three is left by noise alone: in {left / samples:.2f} of the samples it is place 0, expected 0.33"
    assert stats.binomtest(left, samples, 1 / 3).pvalue > 1e-6, said


@pytest.mark.law("decode")
def test_without_choice_noise_the_likelier_of_two_drawn_tokens_is_kept(impl, seed):
    # The rare code is kept only where both positions have drawn it.
    samples, rare = 1000, 0.4
    model = FixedLogits(torch.tensor([rare, 1 - rare]).log().expand(2, 2))
    options = {"steps": 2, "schedule": linear, "temperature": 0.0, "generator": generator(seed)}
    canvas = torch.full((samples, 2), model.mask_id)
    impl.decode(model, torch.zeros(samples, dtype=torch.long), canvas, **options)
    kept_rare = (model.seen[1] == 0).any(1).sum().item()
    pvalue = stats.binomtest(kept_rare, samples, rare**2).pvalue
    assert pvalue > 1e-6, f"the rarer token is kept in {kept_rare / samples:.2f} of the samples, expected {rare**2:.2f}"


@pytest.mark.law("decode")
@model_runs
@given(tokens=known_regions, blank=st.booleans(), steps=step_counts, draw=seeds)
def test_every_unknown_token_becomes_what_its_own_position_and_class_ask_for(impl, tokens, blank, steps, draw):
    wanted = torch.randint(K, (C + 1, N), generator=generator(draw))
    model = FixedLogits(50 * torch.eye(K)[wanted], C)  # sure of one code at each position of each class
    labels = torch.arange(len(tokens)) // 2  # two samples of a class, with canvases of their own
    canvas = torch.full_like(tokens, MODEL.mask_id) if blank else tokens
    options = {"steps": steps, "generator": generator(draw)}
    decoded = impl.decode(model, labels, None if blank else tokens, **options)
    expected = torch.where(unknown(canvas), wanted[labels], canvas)
    assert decoded.equal(expected), f"classes {labels.tolist()}: {oracles.instead(decoded, expected)}"


@pytest.mark.law("decode")
def test_the_generator_alone_decides_and_another_sample_is_another_picture(impl, seed):
    labels = torch.zeros(10, dtype=torch.long)
    first, again, other = (impl.decode(MODEL, labels, generator=generator(s)) for s in (seed, seed, seed + 1))
    assert first.equal(again), "the same generator gave two different answers: is all noise drawn from it?"
    assert not first.equal(other), "two generators with different seeds gave the same answer"
    assert len(first.unique(dim=0)) > 5, "samples of one batch are the same"


@pytest.mark.law("decode")
def test_options_that_are_left_out_have_the_exercise_s_defaults(impl):
    labels = torch.arange(4)
    model = FixedLogits(torch.randn(64, K, generator=generator(0)))
    options = {"steps": 8, "schedule": cosine, "temperature": 4.5}
    given_, left_out = (impl.decode(model, labels, **these, generator=generator(1)) for these in (options, {}))
    assert given_.equal(left_out), "with steps=8, schedule=cosine and temperature=4.5 the answer is another"
