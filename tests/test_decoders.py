"""Decoders after the paper: each part against its formula, and the laws of decoding for all of them."""

import json
import shutil
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels
from command_line import error_line
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import seeds
from tiny import FixedLogits, generator, tiny_transformer
from views import view

from minimaskgit import compare, edit, evaluate, generate
from minimaskgit.common.errors import UserError
from minimaskgit.decoders import correction, counts, loop, orders, sampling
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import Decoder, View, run
from minimaskgit.decoders.named import DecoderName, decoder
from minimaskgit.decoders.policy import papers_policy
from minimaskgit.decoding import Count, decode, decode_steps, mask_plan, num_to_mask
from minimaskgit.editing import edit_tokens
from minimaskgit.runs.choices import SearchedConfig, chosen_decoder, decoding_loop, editing_options
from minimaskgit.runs.config import DecodingConfig, load_config, save_config
from minimaskgit.runs.run import PRETRAINED, open_run
from minimaskgit.schedules import SCHEDULES, cosine, linear

model_runs = settings(max_examples=30)
PAPER, PAUSED = counts.scheduled(cosine), correction.paused(cosine)
DECODERS = {
    "the paper's": Decoder(orders.confidence(), PAPER),
    "margin": Decoder(orders.margin(1.0), PAPER, sampling.tempered(0.9)),
    "entropy": Decoder(orders.entropy(), counts.scheduled(linear), sampling.tempered(top_p=0.9)),
    "random": Decoder(orders.random, PAPER, guidance=sampling.late_guidance(1.5, 0.5)),
    "Halton": Decoder(orders.halton, counts.arcsine),
    "moment": Decoder(orders.moment(), PAPER, sampling.moment()),
    "entropy bound": Decoder(orders.entropy(), counts.entropy_bound(1.0)),
    "ReMDM cap": Decoder(orders.random, PAPER, correction=correction.cap(0.5)),
    "ReMDM rescale": Decoder(orders.confidence(), PAPER, correction=correction.rescale(0.9)),
    "ReMDM conf": Decoder(orders.confidence(), PAPER, correction=correction.unsure()),
    "ReMDM loop": Decoder(orders.confidence(), counts.scheduled(PAUSED), correction=correction.loop(PAUSED)),
}
OWN_COUNTS = {"Halton", "entropy bound", "entropy", "ReMDM loop"}


# --- Laws of all decoders ---


@pytest.mark.parametrize("name", DECODERS)
@model_runs
@given(canvas=known_regions, steps=st.integers(1, 6), seed=seeds)
def test_known_tokens_stay_and_no_mask_is_left(name, canvas, steps, seed):
    taken = list(run(DECODERS[name], MODEL, some_labels(canvas), canvas, steps, generator(seed)))
    known = canvas != MODEL.mask_id
    assert len(taken) == steps
    for step in taken:
        assert torch.equal(step.tokens[known], canvas[known])
        assert torch.equal(step.masked, step.tokens == MODEL.mask_id)
        assert torch.equal(step.tokens[~step.masked], step.sampled[~step.masked])
    assert (taken[-1].tokens < K).all() and (taken[-1].tokens >= 0).all()


@pytest.mark.parametrize("name", sorted(set(DECODERS) - OWN_COUNTS))
@model_runs
@given(canvas=known_regions, steps=st.integers(1, 6), seed=seeds)
def test_as_many_tokens_are_masked_as_the_schedule_says_taken_back_or_not(name, canvas, steps, seed):
    plan = mask_plan((canvas == MODEL.mask_id).sum(1), steps, cosine)
    for step, expected in zip(run(DECODERS[name], MODEL, some_labels(canvas), canvas, steps, generator(seed)), plan):
        if "ReMDM" not in name:
            assert step.masked.sum(1).equal(expected)
        else:  # if more are taken back than are left to keep, some wait
            assert (step.masked.sum(1) >= expected).all()


@pytest.mark.parametrize("name", DECODERS)
@model_runs
@given(canvas=known_regions, steps=st.integers(1, 10), seed=seeds)
def test_every_step_keeps_a_token_of_each_sample_that_still_has_unknown_ones(name, canvas, steps, seed):
    before = canvas == MODEL.mask_id
    for step in run(DECODERS[name], MODEL, some_labels(canvas), canvas, steps, generator(seed)):
        assert ((before & ~step.masked).any(1) == before.any(1)).all()
        before = step.masked


@pytest.mark.parametrize("name", DECODERS)
@model_runs
@given(canvas=known_regions, seed=seeds, step=st.integers(0, 2))
def test_how_many_tokens_are_kept_of_a_sample_does_not_depend_on_the_others(name, canvas, seed, step):
    known = canvas != MODEL.mask_id
    logits = 3 * torch.randn(*canvas.shape, K, generator=generator(seed))
    together = view(logits, known, step)
    priority = orders.entropy()(together).masked_fill(known, torch.inf)
    how_many = DECODERS[name].counts
    alone = [how_many(view(logits[i : i + 1], known[i : i + 1], step), priority[i : i + 1]) for i in range(len(canvas))]
    assert how_many(together, priority).equal(torch.cat(alone))


@pytest.mark.parametrize("name", DECODERS)
def test_the_loop_never_looks_at_a_value_so_it_never_waits_for_the_device(name):
    model, labels = tiny_transformer().to("meta"), torch.zeros(2, dtype=torch.long, device="meta")  # it has no values
    assert len(list(run(DECODERS[name], model, labels, steps=4))) == 4


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("start_step", [-1, 4])
def test_a_start_outside_of_the_steps_is_refused(name, start_step):
    with pytest.raises(ValueError, match="expected 0 to 3"):
        next(run(DECODERS[name], MODEL, torch.arange(2), steps=4, start_step=start_step))


@pytest.mark.parametrize("name", get_args(DecoderName))
@model_runs
@given(canvas=known_regions, start_step=st.integers(0, 3), seed=seeds)
def test_an_edit_with_any_decoder_keeps_what_is_outside_of_its_region(name, canvas, start_step, seed):
    region, tokens = canvas == MODEL.mask_id, canvas.clamp(max=K - 1)
    with_critic = decoder(name, cosine, 4.5, critic=Critic(MODEL.width, len(MODEL.blocks)))
    decode_with = partial(run, with_critic) if name == "critic" else decoding_loop(DecodingConfig(decoder=name))
    options = {"loop": decode_with, "steps": 4, "start_step": start_step, "generator": generator(seed)}
    edited = edit_tokens(MODEL, tokens, region, some_labels(tokens), **options)
    assert edited[~region].equal(tokens[~region]) and (edited < K).all()


@pytest.mark.parametrize("name", DECODERS)
@model_runs
@given(seed=seeds)
def test_the_same_seed_decodes_the_same(name, seed):
    first, again = (list(run(DECODERS[name], MODEL, torch.arange(3), None, 4, generator(seed))) for _ in range(2))
    assert all(a.tokens.equal(b.tokens) for a, b in zip(first, again))


@model_runs
@given(canvas=known_regions, steps=st.integers(1, 6))
def test_with_the_paper_s_parts_and_sure_tokens_the_loop_is_the_paper_s(canvas, steps):
    peaked = FixedLogits(100 * torch.randn(N, K, generator=generator(0)), C)
    with_parts = Decoder(orders.confidence(0.0), PAPER)
    *_, last = run(with_parts, peaked, some_labels(canvas), canvas, steps, generator(1))
    assert last.tokens.equal(decode(peaked, some_labels(canvas), canvas, steps=steps, temperature=0.0))


def test_the_loop_draws_from_the_paper_s_distribution():
    logits = torch.tensor([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    model, labels = FixedLogits(logits, C), torch.zeros(6000, dtype=torch.long)
    ours = list(run(DECODERS["the paper's"], model, labels, None, 2, generator(0)))
    theirs = list(decode_steps(model, labels, steps=2, generator=generator(1)))
    for step in (0, 1):  # [MASK] counts as a third code
        canvases = [taken[step].tokens.clamp(max=2) @ torch.tensor([1, 3, 9]) for taken in (ours, theirs)]
        table = torch.stack([torch.bincount(canvas, minlength=27) for canvas in canvases])
        assert stats.chi2_contingency(table[:, table.sum(0) > 0].numpy()).pvalue > 1e-3


# --- Which ---


def test_the_halton_sequence_of_a_grid_of_8_begins_as_published_and_visits_every_position():
    order = orders.halton_order(8, 8)
    assert [divmod(int(position), 8) for position in order[:4]] == [(4, 2), (2, 5), (6, 0), (1, 3)]
    assert order.sort().values.equal(torch.arange(64))


@pytest.mark.parametrize("side, points", [(8, 79), (16, 685), (24, 2201)])
def test_the_halton_sequence_needs_as_many_points_as_counted_elsewhere(side, points):
    def phi(i: int, base: int) -> float:  # van der Corput, written apart
        digits = np.base_repr(i, base)[::-1]
        return sum(int(digit) / base ** (k + 1) for k, digit in enumerate(digits))

    seen: list[int] = []
    for i in range(1, points + 1):
        position = int(side * phi(i, 2) + 1e-9) * side + int(side * phi(i, 3) + 1e-9)
        if position not in seen:
            seen.append(position)
        elif i == points:
            pytest.fail("the last point is not a new position")
    assert seen == orders.halton_order(side, side).tolist()


@given(offsets=st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=1, max_size=4))
def test_each_sample_follows_the_halton_order_from_its_own_start(offsets):
    known = torch.zeros(len(offsets), N, dtype=torch.bool)
    priority = orders.halton(view(torch.zeros(*known.shape, K), known, offset=torch.tensor(offsets)))
    order = orders.halton_order(int(N**0.5), int(N**0.5)).tolist()
    for offset, row in zip(np.float32(offsets), priority):
        start = int(offset * np.float32(N))
        assert row.argsort(descending=True).tolist() == order[start:] + order[:start]


def test_the_halton_order_needs_a_square_grid():
    with pytest.raises(UserError, match="12 tokens are no square grid"):
        list(run(DECODERS["Halton"], FixedLogits(torch.zeros(12, K), C), torch.arange(2)))


@given(seed=seeds)
def test_margin_and_entropy_are_their_formulas(seed):
    logits = 3 * torch.randn(2, N, K, generator=generator(seed))
    p = np.exp(logits.double().numpy())
    p /= p.sum(-1, keepdims=True)
    shown = view(logits, torch.zeros(2, N, dtype=torch.bool))
    ordered = np.sort(p, -1)
    assert np.allclose(orders.margin()(shown).exp(), ordered[..., -1] - ordered[..., -2], atol=1e-4)
    assert np.allclose(orders.entropy()(shown), (p * np.log(p)).sum(-1), atol=1e-4)


def test_the_random_order_is_any_order_without_preference():
    known = torch.zeros(6000, 3, dtype=torch.bool)
    priority = orders.random(view(torch.zeros(6000, 3, K), known, sure=torch.tensor([0.1, 0.5, 0.9]).expand(6000, -1)))
    found = torch.bincount(priority.argsort(1) @ torch.tensor([9, 3, 1]))
    assert (found > 0).sum() == 6 and stats.chisquare(found[found > 0]).pvalue > 1e-3


def test_moment_sampling_keeps_positions_and_tokens_with_its_probabilities():
    """Of two positions one is kept: with probability sum p^beta over both, and its token with p^beta."""
    logits, alpha = torch.tensor([[0.0, 1.5, -1.0], [0.3, 0.0, 0.2]]), 2.0
    model = FixedLogits(logits, C)
    decoder = Decoder(orders.moment(2 * alpha), PAPER, sampling.moment(2 * alpha))  # alpha at r = 1/2
    first = next(run(decoder, model, torch.zeros(20_000, dtype=torch.long), None, 2, generator(0)))
    p = np.exp(logits.double().numpy())
    p /= p.sum(-1, keepdims=True)
    weights = p ** (1 + 1 / alpha)
    expected = (weights / weights.sum()).ravel()
    position = (~first.masked).int().argmax(1)
    found = torch.bincount(position * 3 + first.tokens.gather(1, position[:, None])[:, 0], minlength=6)
    assert stats.chisquare(found, 20_000 * expected).pvalue > 1e-3


# --- How many ---


@pytest.mark.parametrize(
    "num_tokens, expected", [(64, [5, 5, 5, 6, 6, 7, 9, 21]), (256, [20, 21, 21, 23, 25, 28, 35, 83])]
)
def test_the_arcsine_counts_are_those_published(num_tokens, expected):
    model = FixedLogits(torch.zeros(num_tokens, 3), C)
    masked = [step.masked.sum().item() for step in run(DECODERS["Halton"], model, torch.tensor([0]), None, 8)]
    assert np.diff([num_tokens, *masked]).tolist() == [-count for count in expected]


RELEASED = np.load(Path(__file__).parent / "released" / "counts.npz")  # of JAX 0.10; cosine and linear of an older one


def off(schedule: str, count: Count) -> np.ndarray:
    """How many more tokens our plans leave before each step than the released code, for U = 0..300: (steps, U)."""
    start = torch.arange(301)
    plans = [mask_plan(start, steps, SCHEDULES[schedule], count=count)[:-1] for steps in RELEASED["steps"].tolist()]
    ours = torch.cat([part for plan in plans for part in (start[None], plan)]).numpy()
    return ours - RELEASED[schedule].astype(int)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "square", "cubic", "square_root"])
def test_counts_with_released_rounding_are_those_of_the_released_code(schedule):
    assert not off(schedule, counts.released).any() and off(schedule, num_to_mask).any()


@pytest.mark.parametrize("schedule", ["logarithmic", "exponential"])
def test_with_logarithms_few_counts_differ_from_the_released_code_s_and_by_one(schedule):
    differ = np.abs(off(schedule, counts.released))
    assert differ.max() == 1 and differ.sum() < 20 and differ.size == 24_080


@pytest.mark.parametrize("name", sorted({*get_args(DecoderName)} - {"halton", "entropy-bound", "remdm-loop", "critic"}))
def test_any_decoder_with_a_mask_schedule_can_count_as_the_released_code(name):
    *_, before_last, _ = run(
        replace(decoder(name, cosine, 4.5, rounding="released"), correction=None), MODEL, torch.arange(3), None, 12
    )
    assert before_last.masked.sum(1).tolist() == [1, 1, 1]
    *_, before_last, _ = run(replace(decoder(name, cosine, 4.5), correction=None), MODEL, torch.arange(3), None, 12)
    assert not before_last.masked.any()


@given(seed=seeds, bound=st.floats(0, 8), data=st.data())
def test_the_entropy_bound_keeps_the_longest_start_of_the_order_that_it_allows(seed, bound, data):
    known = torch.tensor(data.draw(st.lists(st.booleans(), min_size=N, max_size=N)))[None]
    shown = view(3 * torch.randn(1, N, K, generator=generator(seed)), known)
    priority = orders.entropy()(shown)
    doubts = sorted(-priority[~known].numpy())  # the order is that of the entropy
    allowed = [n for n in range(1, len(doubts) + 1) if sum(doubts[:n]) - max(doubts[:n]) <= bound + 1e-4]
    fewer = [n for n in range(1, len(doubts) + 1) if sum(doubts[:n]) - max(doubts[:n]) <= bound - 1e-4]
    kept = len(doubts) - counts.entropy_bound(bound)(shown, priority.masked_fill(known, torch.inf)).item()
    assert max(fewer, default=min(1, len(doubts))) <= kept <= max(allowed, default=0)


# --- With what noise ---


@given(seed=seeds, temperature=st.floats(0.2, 3), top_p=st.floats(0.05, 1))
def test_top_p_keeps_the_fewest_codes_that_reach_it(seed, temperature, top_p):
    logits = 2 * torch.randn(3, K, generator=generator(seed))
    found = sampling.tempered(temperature, top_p)(logits, 0.5).softmax(-1).double().numpy()
    for row, answer in zip(logits.double().numpy() / temperature, found):
        p = np.exp(row) / np.exp(row).sum()
        order = np.argsort(-p)
        reached = np.flatnonzero(np.cumsum(p[order]) >= top_p - 1e-6)
        kept = order[: (reached[0] if len(reached) else K - 1) + 1]
        expected = np.zeros(K)
        expected[kept] = p[kept] / p[kept].sum()
        assert np.allclose(answer, expected, atol=1e-4)


@pytest.mark.parametrize("temperature, top_p", [(1e-45, 1.0), (1e-30, 0.9), (1.0, 1e-45), (1e-45, 1e-45)])
def test_almost_no_temperature_and_almost_no_top_p_leave_the_likeliest_code(temperature, top_p):
    logits = 1000 * torch.randn(50, K, generator=generator(0))
    found = sampling.tempered(temperature, top_p)(logits, 0.5).softmax(-1)
    assert found.argmax(-1).equal(logits.argmax(-1)) and found.amax(-1).eq(1).all()


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-30, 1.0, 10_000.0])
def test_moment_sampling_is_finite_at_any_temperature(temperature):
    shown = view(100 * torch.randn(2, N, K, generator=generator(0)), torch.zeros(2, N, dtype=torch.bool))
    assert orders.moment(temperature)(shown).isfinite().all()
    assert sampling.moment(temperature)(shown.logits, 0.5).softmax(-1).isfinite().all()


def test_guidance_begins_late():
    assert [sampling.late_guidance(2.0, 0.5)(r) for r in (0.25, 0.5, 0.75, 1.0)] == [0.0, 0.0, 2.0, 2.0]


def test_the_loop_guides_each_step_by_its_progress(monkeypatch):
    weights, real = [], loop.guided_logits
    monkeypatch.setattr(loop, "guided_logits", lambda *rest: weights.append(rest[-1]) or real(*rest))
    list(run(Decoder(orders.random, PAPER, guidance=sampling.late_guidance(1.5, 0.5)), MODEL, torch.arange(2), None, 4))
    assert weights == [0.0, 0.0, 1.5, 1.5]


def test_the_loop_draws_from_the_sampling_and_is_sure_by_the_models_own_probabilities():
    seen, logits = [], torch.randn(N, K, generator=generator(0))

    def order(shown: View) -> torch.Tensor:
        seen.append(shown)
        return orders.random(shown)

    surest = Decoder(order, PAPER, sampling.tempered(top_p=1e-6))
    *_, last = run(surest, FixedLogits(logits, C), torch.zeros(3, dtype=torch.long), None, 4, generator(1))
    assert last.tokens.equal(logits.argmax(-1).expand(3, -1))
    for shown in seen:
        assert shown.sure.allclose(logits.softmax(-1).amax(-1).expand(3, -1))


# --- Whether to take back ---


@given(known=st.integers(0, N), step=st.integers(0, 3))
def test_sigma_max_is_its_formula_and_0_on_a_blank_canvas(known, step):
    shown = view(torch.zeros(1, N, K), (torch.arange(N) < known)[None], step)
    after = 1 - np.cos(np.pi / 2 * (step + 1) / 4)
    expected = 0.0 if known == 0 else min(1.0, (1 - after) / (known / N))
    assert correction.sigma_max(shown, cosine).item() == pytest.approx(expected, abs=1e-6)


def test_tokens_are_taken_back_as_often_as_remdm_says():
    known = (torch.arange(N) < N - 2).expand(4000, -1)
    shown = view(torch.zeros(4000, N, K), known, step=2, sure=torch.linspace(0.1, 0.9, N).expand(4000, -1))
    most = correction.sigma_max(shown, cosine)[0].item()
    weights = np.exp(-np.linspace(0.1, 0.9, N)[: N - 2])
    for rule, expected in {
        correction.cap(0.05): np.full(N - 2, 0.05),
        correction.cap(1.0): np.full(N - 2, most),
        correction.rescale(0.3): np.full(N - 2, 0.3 * most),
        correction.unsure(): most * weights / weights.sum(),
    }.items():
        found = rule(shown).float().mean(0)[: N - 2].numpy()
        assert np.abs(found - expected).max() < 4 * 0.5 / 4000**0.5


@given(before=st.floats(0, 1), rise=st.floats(0, 1), sigma=st.floats(0, 1))
def test_remdm_leaves_as_many_known_as_planned_however_many_it_takes_back(before, rise, sigma):
    after = before + rise * (1 - before)
    alphas = torch.tensor([before, after, sigma], dtype=torch.double)
    taken, revealed = correction.remdm_probability(*alphas)
    assert 0 <= taken <= sigma and -1e-9 <= revealed <= 1 + 1e-9
    assert ((1 - taken) * before + revealed * (1 - before)).item() == pytest.approx(after, abs=1e-9)


def test_a_critic_takes_back_the_most_doubted_of_which_it_is_sure():
    doubt = torch.tensor([[5.0, 4.0, 3.0, -1.0, 9.0, 8.0]])
    known = torch.tensor([[True, True, True, True, False, True]])
    given_tokens = torch.tensor([[False, False, False, False, False, True]])
    shown = view(torch.zeros(1, 6, K), known, step=0, given=given_tokens, doubt=doubt)  # r = 1/4, five free tokens
    for part, sure, expected in ((0.6, 0.9, [0, 1]), (1.0, 0.9, [0, 1, 2]), (1.0, 0.97, [0, 1]), (0.1, 0.5, [])):
        assert correction.doubted(part, sure)(shown)[0].nonzero().flatten().tolist() == expected


def test_on_a_blank_or_complete_canvas_no_rule_divides_by_nothing():
    for known in (torch.zeros(2, N, dtype=torch.bool), torch.ones(2, N, dtype=torch.bool)):
        for given_tokens in (torch.zeros_like(known), known):
            shown = view(torch.zeros(2, N, K), known, step=2, given=given_tokens)
            most = correction.sigma_max(shown, cosine)
            assert ((most >= 0) & (most <= 1)).all()  # also no NaN
            if not (known & ~given_tokens).any():
                rules = (correction.cap(1.0), correction.rescale(1.0), correction.unsure(), correction.loop(PAUSED))
                assert not most.any() and not any(rule(shown).any() for rule in rules)


def test_a_token_taken_back_is_made_up_for_by_as_many_more_kept():
    first_known = Decoder(orders.confidence(), PAPER, correction=lambda shown: shown.known.cumsum(1).eq(1))
    for step, expected in zip(
        run(first_known, MODEL, torch.arange(3), None, 4), mask_plan(torch.tensor([N]), 4, cosine)
    ):
        assert (step.masked.sum(1) == expected).all()


def test_the_loop_of_remdm_pauses_at_nine_tenths():
    r = torch.linspace(0, 1, 101, dtype=torch.double)
    gamma = PAUSED(r, torch.tensor(64))
    for at, found in zip(r.tolist(), gamma.tolist()):
        first, others = np.cos(np.pi / 2 * min(at / 0.45, 1)), np.cos(np.pi / 2 * max((at - 0.95) / 0.05, 0))
        expected = 1 - 0.9 * (1 - first) if at < 0.45 else 0.1 * others
        assert found == pytest.approx(expected, abs=1e-6)
    assert (gamma.diff() <= 1e-9).all()


@pytest.mark.parametrize("steps, sigma", [(8, 1 / 9), (64, 1 / 9), (1024, 0.02), (2048, 0.01)])
def test_the_loop_of_remdm_takes_back_in_its_pause_only(steps, sigma):
    known = (torch.arange(100) < 90).expand(400, -1)
    for step in (0, int(0.44 * steps), int(0.5 * steps), int(0.8 * steps), int(0.96 * steps)):
        shown = view(torch.zeros(400, 100, 2), known, step=step, steps=steps)
        found = correction.loop(PAUSED)(shown)[known].float().mean().item()
        expected = sigma if 0.45 <= step / steps < 0.95 and step + 1 < steps else 0.0
        assert abs(found - expected) <= 4 * (expected * (1 - expected) / 36_000) ** 0.5


# --- Mistakes in the parts, which mutants.py inserts ---


def test_every_part_of_a_decoder_has_a_mistake_that_a_test_is_meant_to_see():
    mistakes = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text("utf-8"))["decoders"]
    parts = {"loop.run": loop, "loop.next_canvas": loop}
    for module in (orders, counts, sampling, correction):
        name = module.__name__.rpartition(".")[2]
        own = [part for part, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        parts |= {f"{name}.{part}": module for part in own if not part.startswith("_")}
    assert set(mistakes) == set(parts)
    laws = [name for name in globals() if name.startswith("test_")]
    for part, (old, new, test) in mistakes.items():
        assert Path(parts[part].__file__).read_text("utf-8").count(old) == 1 and old != new, part
        assert any(test in law for law in laws), part


# --- By name, through the commands ---


@pytest.mark.parametrize("name", get_args(DecoderName))
def test_generate_and_evaluate_take_every_decoder_by_name(run_folder, tmp_path, name):
    generate.main(["--run", str(run_folder), "--count", "2", "--decoder", name, "--out", str(tmp_path / "x.png")])
    options = ["--run", str(run_folder), "--metrics", "palette", "--samples", "20", "--reference", "20"]
    option, value = ("temperature", 2.0) if name == "moment" else ("top_p", 0.9)
    options += ["--decoder", name, f"--{option.replace('_', '-')}", str(value)]
    evaluate.main([*options, "--json", str(tmp_path / "x.json")])
    found = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert found["decoder"] == found["decoding"]["decoder"] == name and found["decoding"][option] == value


@pytest.fixture(scope="module")
def halton_run(run_folder, tmp_path_factory) -> Path:
    """A run whose own settings say Halton."""
    folder = tmp_path_factory.mktemp("halton") / "run"
    shutil.copytree(run_folder, folder)
    config = load_config(folder / "config.json")
    save_config(replace(config, decoding=replace(config.decoding, decoder="halton")), folder / "config.json")
    return folder


def test_a_run_says_which_decoder_its_commands_use_unless_told_otherwise(halton_run, run_folder, tmp_path, capsys):
    pictures = {}
    for name, more in {"own": [halton_run], "told": [run_folder, "--decoder", "halton"], "paper": [run_folder]}.items():
        out = tmp_path / f"{name}.png"
        generate.main(["--count", "4", "--out", str(out), "--run", *map(str, more)])
        assert ("decoding: decoder halton" in capsys.readouterr().out) == (name != "paper")
        pictures[name] = out.read_bytes()
    assert pictures["own"] == pictures["told"] != pictures["paper"]
    evaluate.main(["--run", str(halton_run), "--metrics", "palette", "--samples", "20", "--reference", "20"])
    assert (halton_run / "evaluation" / "halton.json").exists()


def test_compare_and_edit_take_a_decoder(run_folder, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(loop, "run", lambda *rest, real=loop.run, **options: used.append(1) or real(*rest, **options))
    out, how = str(tmp_path / "x.png"), ["--decoder", "remdm-loop", "--top-p", "0.9"]
    edit.main(["--run", str(run_folder), "--box", "4,4,9,9", "--label", "heart", "--count", "2", "--out", out, *how])
    assert used
    used.clear()
    few = ["--batches", "1", "--repeats", "1", "--shown", "1"]
    compare.main(["--run", str(run_folder), "--out", str(tmp_path / "compare"), *few, *how])
    found = json.loads((tmp_path / "compare" / "compare.json").read_text("utf-8"))["decoding"]
    assert used and found["decoder"] == "remdm-loop" and found["top_p"] == 0.9


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--decoder", "moment", "--top-p", "0.9"], "--top-p does nothing with --decoder moment"),
        (["--decoder", "halton", "--schedule", "cosine"], "--schedule does nothing with --decoder halton"),
        (["--decoder", "random", "--temperature", "1"], "--temperature does nothing with --decoder random"),
        (["--decoder", "halton", "--rounding", "exact"], "--rounding does nothing with --decoder halton"),
        (["--rounding", "near"], "--rounding near: expected one of exact, released"),
        (["--guidance-start", "0.5"], "--guidance-start 0.5 does nothing without guidance"),
        (["--guidance-start", "1", "--guidance", "1"], "--guidance-start 1: guidance would never begin"),
        (["--guidance-start", "2", "--guidance", "1"], "--guidance-start 2.0: expected at most 1"),
        (["--sampling-temperature", "0"], "--sampling-temperature 0.0: expected more than 0"),
        (["--decoder", "halto"], "--decoder halto: expected one of maskgit, margin, entropy, random, halton"),
    ],
)
@pytest.mark.parametrize("command", [generate, evaluate, compare, edit])
def test_settings_that_a_decoder_lacks_are_refused_not_ignored(run_folder, capsys, command, arguments, told):
    base = ["--box", "4,4,9,9", "--label", "heart"] if command is edit else []
    assert told in error_line(capsys, command, "--run", str(run_folder), *base, *arguments)


def test_runs_made_before_there_were_decoders_use_the_paper_s():
    assert load_config(PRETRAINED / "glyphs" / "config.json").decoding.decoder == "maskgit"


@pytest.mark.parametrize("option", ["--top-p", "--guidance-start", "--sampling-temperature"])
def test_other_models_have_no_sampling_settings(run_folder, capsys, option):
    arguments = ["--run", str(run_folder), "--decoder", "gan", "--metrics", "palette", "--samples", "20", option, "0.5"]
    assert f"{option} is a MaskGIT setting" in error_line(capsys, evaluate, *arguments)


def test_top_p_of_0_is_refused_because_no_code_would_be_left(capsys):
    assert "--top-p 0.0: expected more than 0" in error_line(capsys, generate, "--pretrained", "glyphs", "--top-p", "0")


def test_the_paper_s_settings_give_the_paper_s_own_loop():
    assert chosen_decoder(DecodingConfig()) is None
    for other in ({"decoder": "halton"}, {"guidance_start": 0.5}, {"sampling_temperature": 0.9}, {"top_p": 0.9}):
        assert chosen_decoder(DecodingConfig(**other)) is not None


def test_edits_never_use_a_policy_which_is_for_whole_images():
    run = open_run(PRETRAINED / "glyphs", "cpu", "fp32")
    policy = papers_policy(12, cosine, 2.0, 64)
    options = editing_options(run, SearchedConfig(steps=12, policy=policy), seed=0)
    assert options["loop"].func is decode_steps
