"""The search for a decoding policy: each step's settings, what the search finds and keeps, and who uses it."""

import math
from dataclasses import replace

import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import schedule_names, seeds
from tiny import FixedLogits, generator

from minimaskgit.decoders import loop
from minimaskgit.decoders.loop import run
from minimaskgit.decoders.named import decoder
from minimaskgit.decoders.policy import Policy, decoder_of, papers_policy
from minimaskgit.decoders.sampling import tempered
from minimaskgit.decoding import mask_plan
from minimaskgit.schedules import SCHEDULES

model_runs = settings(max_examples=30)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any settings of 1 to 6 steps."""
    steps = draw(st.integers(1, 6))

    def each(least: float, most: float) -> tuple[float, ...]:
        return tuple(draw(st.lists(st.floats(least, most), min_size=steps, max_size=steps)))

    masked = (*sorted(each(0, 1), reverse=True)[1:], 0.0)
    return Policy(masked, each(0, 5), each(0.2, 2), each(0, 2))


# --- A policy decodes ---

EARLY = Policy((0.6, 0.3, 0.0), choice=(2.0, 0.5, 0.0), sampling=(0.5, 1.0, 1.5), guidance=(0.0, 0.0, 1.0))


def test_a_policy_decodes_as_it_did_when_this_was_written():
    steps = run(decoder_of(EARLY), MODEL, torch.tensor([1]), None, 3, generator(0))
    m = MODEL.mask_id
    assert [step.tokens[0].tolist() for step in steps] == [
        [m, 1, m, m, m, 2, 4, 8, m],  # of 9 tokens, floor(9 x 0.6) = 5 are masked
        [2, 1, 10, 2, m, 2, 4, 8, m],  # floor(9 x 0.3) = 2
        [2, 1, 10, 2, 1, 2, 4, 8, 1],
    ]


@model_runs
@given(policy=policies(), canvas=known_regions, seed=seeds)
def test_known_tokens_stay_and_after_each_step_as_many_are_masked_as_the_policy_says(policy, canvas, seed):
    known = canvas != MODEL.mask_id
    free = now = (~known).sum(1).tolist()
    steps = run(decoder_of(policy), MODEL, some_labels(canvas), canvas, policy.steps, generator(seed))
    for t, step in enumerate(steps):
        planned = [min(max(math.floor(u * policy.masked[t]), 1), n - 1) for u, n in zip(free, now)]
        now = [max(p, 0) if t < policy.steps - 1 else 0 for p in planned]  # each step keeps a token, and the last all
        assert step.masked.sum(1).tolist() == now
        assert torch.equal(step.tokens[known], canvas[known])
    assert (step.tokens < K).all()


@model_runs
@given(name=schedule_names, steps=st.integers(1, 12), temperature=st.floats(0, 10), seed=seeds)
def test_the_papers_settings_as_a_policy_decode_bit_by_bit_as_the_papers_decoder(name, steps, temperature, seed):
    schedule = SCHEDULES[name]
    ours = decoder_of(papers_policy(steps, schedule, temperature, N))
    theirs = decoder("maskgit", schedule, temperature)
    walks = [run(each, MODEL, torch.arange(3), None, steps, generator(seed)) for each in (ours, theirs)]
    assert all(a.tokens.equal(b.tokens) for a, b in zip(*walks, strict=True))


@given(name=schedule_names, steps=st.integers(1, 40), num_tokens=st.integers(1, 300))
def test_the_papers_policy_has_the_counts_of_the_papers_schedule(name, steps, num_tokens):
    model = FixedLogits(torch.zeros(num_tokens, 2), C)
    policy = papers_policy(steps, SCHEDULES[name], 4.5, num_tokens)
    masked = [step.masked.sum(1) for step in run(decoder_of(policy), model, torch.tensor([0]), None, steps)]
    assert torch.stack(masked).equal(mask_plan(torch.tensor([num_tokens]), steps, SCHEDULES[name]))


def test_each_step_has_its_own_guidance_and_its_own_sampling(monkeypatch):
    weights, real = [], loop.guided_logits
    monkeypatch.setattr(loop, "guided_logits", lambda *rest: weights.append(rest[-1]) or real(*rest))
    list(run(decoder_of(EARLY), MODEL, torch.arange(2), None, 3))
    assert weights == [0.0, 0.0, 1.0]
    logits = torch.tensor([0.0, 0.5, 1.0, 3.0])
    for r, temperature in zip((1 / 3, 2 / 3, 1.0), EARLY.sampling):
        assert decoder_of(EARLY).sampling(logits, r).equal(tempered(temperature)(logits, r))


WRONG = {
    "for each step": {"choice": (1.0,)},
    "fall": {"masked": (0.3, 0.6, 0.0)},
    "to 0": {"masked": (0.6, 0.3, 0.1)},
    "at most 1": {"masked": (1.2, 0.3, 0.0)},
    "choice": {"choice": (math.nan, 0.0, 0.0)},
    "sampling": {"sampling": (1.0, 0.0, 1.0)},
    "guidance": {"guidance": (0.0, math.inf, 0.0)},
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_policy_that_cannot_decode_says_what_is_wrong(reason):
    with pytest.raises(ValueError, match=reason):
        replace(EARLY, **WRONG[reason])
