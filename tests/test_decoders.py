"""Decoders after the paper: each part against its formula, and the laws of decoding for all of them."""

import json
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
from tiny import FixedLogits, generator

from minimaskgit import evaluate, generate
from minimaskgit.decoders import correction, counts, loop, orders, sampling
from minimaskgit.decoders.loop import Decoder, View, run
from minimaskgit.decoders.named import DecoderName
from minimaskgit.decoding import decode, decode_steps, mask_plan
from minimaskgit.runs.choices import chosen_decoder
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.schedules import cosine, linear

model_runs = settings(max_examples=30)
PAPER = counts.scheduled(cosine)
DECODERS = {
    "the paper's": Decoder(orders.confidence(), PAPER),
    "margin": Decoder(orders.margin(1.0), PAPER, sampling.tempered(0.9)),
    "entropy": Decoder(orders.entropy(), counts.scheduled(linear), sampling.tempered(top_p=0.9)),
    "random": Decoder(orders.random, PAPER, guidance=sampling.late_guidance(1.5)),
    "Halton": Decoder(orders.halton, counts.arcsine),
    "moment": Decoder(orders.moment(), PAPER, sampling.moment()),
    "entropy bound": Decoder(orders.entropy(), counts.entropy_bound(1.0)),
    "ReMDM cap": Decoder(orders.random, PAPER, correction=correction.cap(0.5)),
    "ReMDM rescale": Decoder(orders.confidence(), PAPER, correction=correction.rescale(0.9)),
    "ReMDM conf": Decoder(orders.confidence(), PAPER, correction=correction.unsure()),
}


def view(logits: torch.Tensor, known: torch.Tensor, step: int = 0, steps: int = 4, seed: int = 0, **others) -> View:
    """A step of decoding whose tokens are all drawn as code 0."""
    tokens = torch.zeros(known.shape, dtype=torch.long).masked_fill(~known, K + C)
    fields = {"given": torch.zeros_like(known), "sure": torch.ones(known.shape), "offset": torch.zeros(len(known))}
    fields |= {"sampled": torch.zeros_like(tokens), "mask_id": K + C, "generator": generator(seed)} | others
    return View(step, steps, tokens, known, logits=logits, **fields)


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


@pytest.mark.parametrize("name", set(DECODERS) - {"Halton", "entropy bound", "entropy"})
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
@given(seed=seeds)
def test_the_same_seed_decodes_the_same(name, seed):
    first, again = (list(run(DECODERS[name], MODEL, torch.arange(3), None, 4, generator(seed))) for _ in range(2))
    assert all(a.tokens.equal(b.tokens) for a, b in zip(first, again))


@model_runs
@given(canvas=known_regions, steps=st.integers(1, 6))
def test_with_the_papers_parts_and_sure_tokens_the_loop_is_the_papers(canvas, steps):
    peaked = FixedLogits(100 * torch.randn(N, K, generator=generator(0)), C)
    with_parts = Decoder(orders.confidence(0.0), PAPER)
    *_, last = run(with_parts, peaked, some_labels(canvas), canvas, steps, generator(1))
    assert last.tokens.equal(decode(peaked, some_labels(canvas), canvas, steps=steps, temperature=0.0))


def test_the_loop_draws_from_the_papers_distribution():
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


@given(seed=seeds)
def test_margin_and_entropy_are_their_formulas(seed):
    logits = 3 * torch.randn(2, N, K, generator=generator(seed))
    p = np.exp(logits.double().numpy())
    p /= p.sum(-1, keepdims=True)
    shown = view(logits, torch.zeros(2, N, dtype=torch.bool))
    ordered = np.sort(p, -1)
    assert np.allclose(orders.margin()(shown).exp(), ordered[..., -1] - ordered[..., -2], atol=1e-4)
    assert np.allclose(orders.entropy()(shown), (p * np.log(p)).sum(-1), atol=1e-4)


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


def test_guidance_begins_late():
    assert [sampling.late_guidance(2.0)(r) for r in (0.25, 0.5, 0.75, 1.0)] == [0.0, 0.0, 2.0, 2.0]


def test_the_loop_guides_each_step_by_its_progress(monkeypatch):
    weights, real = [], loop.guided_logits
    monkeypatch.setattr(loop, "guided_logits", lambda *rest: weights.append(rest[-1]) or real(*rest))
    list(run(Decoder(orders.random, PAPER, guidance=sampling.late_guidance(1.5)), MODEL, torch.arange(2), None, 4))
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


@given(known=st.integers(0, N), step=st.integers(0, 2))
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


# --- By name, through the commands ---


@pytest.mark.parametrize("name", get_args(DecoderName))
def test_generate_and_evaluate_take_every_decoder_by_name(run_folder, tmp_path, name):
    generate.main(["--run", str(run_folder), "--count", "2", "--decoder", name, "--out", str(tmp_path / "x.png")])
    options = ["--run", str(run_folder), "--metrics", "palette", "--samples", "20", "--reference", "20"]
    evaluate.main([*options, "--decoder", name, "--top-p", "0.9", "--json", str(tmp_path / "x.json")])
    found = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert found["decoder"] == found["decoding"]["decoder"] == name and found["decoding"]["top_p"] == 0.9


@pytest.mark.parametrize("option", ["--top-p", "--guidance-start", "--sampling-temperature"])
def test_other_models_have_no_sampling_settings(run_folder, capsys, option):
    arguments = ["--run", str(run_folder), "--decoder", "gan", "--metrics", "palette", "--samples", "20", option, "0.5"]
    assert f"{option} is a MaskGIT setting" in error_line(capsys, evaluate, *arguments)


def test_top_p_of_0_is_refused_because_no_code_would_be_left(capsys):
    assert "--top-p 0.0: expected more than 0" in error_line(capsys, generate, "--pretrained", "glyphs", "--top-p", "0")


def test_the_papers_settings_give_the_papers_own_loop():
    assert chosen_decoder(DecodingConfig()) is None
    for other in ({"decoder": "halton"}, {"guidance_start": 0.5}, {"sampling_temperature": 0.9}, {"top_p": 0.9}):
        assert chosen_decoder(DecodingConfig(**other)) is not None
