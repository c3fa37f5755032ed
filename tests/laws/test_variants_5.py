"""Laws of lesson 5's variants: steps of each row's own, forbidden codes, a step that was broken.

`drawn` is what the teacher's number drew (lessons/variants/lesson_5.py). Properties, wherever there is one.
"""

from itertools import pairwise

import numpy as np
import oracles
import pytest
import torch
from canvas import MODEL, K, step_counts, unknown
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import masks, schedule_names, seeds
from tiny import FixedLogits, Telling, generator
from unsaid import assert_is_the_reason

from minimaskgit.decoding import mask_plan
from minimaskgit.grading.variants import stubs
from minimaskgit.schedules import SCHEDULES, linear, square_root

LESSON = {
    "masks_left": (stubs(5), "lesson 5, 'How many stay masked'; each row by its own T (paper section 3.2, step 3)"),
    "decode_allowed": (stubs(5), "lesson 5, 'The loop'; what does a model predict that never learned a code?"),
    "fix_best": (stubs(5), "lesson 5, 'Which ones'; try it on two rows that differ, and look at what you passed"),
    "fix_best_reason": (stubs(5), "what you changed in fix_best"),
}

few_runs = settings(max_examples=15)
rows = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300), st.integers(1, 12)), min_size=1, max_size=4)


# --- Steps of each row's own ---


@pytest.mark.law("masks_left")
@given(rows=rows, step=st.integers(0, 12))
def test_each_row_follows_the_graph_at_its_own_pace(impl, drawn, rows, step):
    start = [u for u, *_ in rows]
    now = [min(u, n) for u, n, _ in rows]
    left = impl.masks_left(torch.tensor(start), torch.tensor(now), step, torch.tensor([t for *_, t in rows]))
    assert left.dtype == torch.int64, oracles.dtype(left, torch.int64)
    assert left.shape == (len(rows),), oracles.shape(left, (len(rows),))
    x, y = zip(*drawn["points"])
    for row, (u, n, (*_, t)) in enumerate(zip(start, now, rows)):
        exact = u * np.interp((step + 1) / t, x, y)
        bounds = [max(0, min(max(1, int(np.floor(exact + e))), n - 1)) for e in (-1e-4, 1e-4)]
        bounds = bounds if step + 1 < t else [0, 0]
        said = f"row {row} keeps {left[row].item()}; U gamma is {exact:.2f}, {n} are unknown, step {step} of {t}"
        assert bounds[0] <= left[row] <= bounds[1], said


@pytest.mark.law("masks_left")
@given(rows=rows)
def test_step_by_step_every_row_is_filled_by_the_end_of_its_own_steps(impl, drawn, rows):
    start, steps = torch.tensor([u for u, *_ in rows]), torch.tensor([t for *_, t in rows])
    now = start
    for step in range(int(steps.max())):
        left = impl.masks_left(start, now, step, steps)
        finished = steps <= step + 1
        assert not left[finished].any(), f"step {step}: {left.tolist()} left; rows with T = {steps.tolist()}"
        assert (left < now.clamp(min=1)).all(), f"step {step} fixes nothing: {now.tolist()} to {left.tolist()}"
        now = left


# --- Forbidden codes ---


def is_forbidden(drawn: dict, num_tokens: int, num_codes: int) -> torch.Tensor:
    """Bool (N, K)."""
    place = torch.arange(num_tokens)[:, None] if drawn["by_place"] else torch.zeros(num_tokens, 1, dtype=torch.long)
    return (place + torch.arange(num_codes)) % drawn["parts"] == drawn["part"]


@pytest.mark.law("decode_allowed")
@few_runs
@given(steps=step_counts, samples=st.integers(1, 4), draw=seeds)
def test_no_forbidden_code_comes_out_even_where_it_would_win(impl, drawn, steps, samples, draw):
    bad = is_forbidden(drawn, 7, K)
    model = FixedLogits(torch.randn(7, K, generator=generator(draw)) + 1e3 * bad)
    options = {"steps": steps, "generator": generator(draw)}
    decoded = impl.decode_allowed(model, torch.zeros(samples, dtype=torch.long), **options)
    assert decoded.shape == (samples, 7), oracles.shape(decoded, (samples, 7))
    assert ((decoded >= 0) & (decoded < K)).all(), f"returned the ids {decoded.unique().tolist()} of {K} codes"
    wrong = bad[torch.arange(7), decoded]
    assert not wrong.any(), f"forbidden codes {decoded[wrong].tolist()} at the places {wrong.nonzero()[:, 1].tolist()}"


@pytest.mark.law("decode_allowed")
@few_runs
@given(steps=step_counts, name=schedule_names, draw=seeds)
def test_each_pass_shows_the_masks_of_the_plan_and_keeps_what_is_fixed(impl, drawn, steps, name, draw):
    model, labels = FixedLogits(torch.randn(7, K, generator=generator(draw))), torch.tensor([0, 1])
    options = {"steps": steps, "schedule": SCHEDULES[name], "generator": generator(draw)}
    decoded = impl.decode_allowed(model, labels, **options)
    assert len(model.seen) == steps, f"the model is called {len(model.seen)} times; expected T = {steps}"
    start = torch.tensor([7, 7])
    plan = torch.cat([start[None], mask_plan(start, steps, SCHEDULES[name])[:-1]])
    for step, (seen, expected) in enumerate(zip(model.seen, plan)):
        masked = seen == model.mask_id
        assert masked.sum(1).equal(expected), f"pass {step} shows {masked.sum(1).tolist()} masks; {expected.tolist()}"
        assert decoded[~masked].equal(seen[~masked]), f"a token fixed before pass {step} has changed in the end"


@pytest.mark.law("decode_allowed")
@few_runs
@given(steps=step_counts, draw=seeds)
def test_each_pass_fixes_what_the_model_says_of_the_canvas_that_it_is_shown(impl, drawn, steps, draw):
    # Shown s tokens, the model likes code s best, then s + 1, and so on.
    bad, ranks = is_forbidden(drawn, 7, K), (torch.arange(K) - torch.arange(8)[:, None]) % K  # (N + 1, K)
    model, labels = Telling(-50.0 * ranks[:, None].expand(-1, 7, -1)), torch.tensor([0, 1])
    decoded = impl.decode_allowed(model, labels, steps=steps, generator=generator(draw))
    for step, (seen, after) in enumerate(pairwise([*model.seen, decoded])):
        fixed = unknown(seen) & ~unknown(after)
        best = ranks[(~unknown(seen)).sum(1)][:, None].masked_fill(bad, K).argmin(-1)  # (B, N)
        assert after[fixed].equal(best[fixed]), f"pass {step} fixes: {oracles.instead(after[fixed], best[fixed])}"


@pytest.mark.law("decode_allowed")
def test_allowed_codes_come_as_often_as_the_model_says_of_them(impl, drawn, seed):
    bad = is_forbidden(drawn, 1, 7)[0]
    logits = torch.randn(7, generator=generator(seed)) + 2 * bad
    found = impl.decode_allowed(FixedLogits(logits[None]), torch.zeros(4000, dtype=torch.long), generator=generator(1))
    counts = found.flatten().bincount(minlength=7)
    expected = 4000 * logits.double().masked_fill(bad, -torch.inf).softmax(-1)
    assert not counts[bad].any(), f"drawn {counts.tolist()}; {bad.nonzero().flatten().tolist()} are forbidden"
    pvalue = stats.chisquare(counts[~bad], expected[~bad]).pvalue
    assert pvalue > 1e-6, f"drawn {counts.tolist()}; expected {expected.int().tolist()}"


@pytest.mark.law("decode_allowed")
def test_who_has_only_one_allowed_code_to_choose_is_sure_of_it(impl, drawn):
    # Place 0 would like a forbidden code best, and of the allowed ones knows only one; place 1 hesitates between two.
    bad = is_forbidden(drawn, 2, 12)
    allowed = [(~bad[place]).nonzero().flatten().tolist() for place in range(2)]
    logits = torch.full((2, 12), -60.0)
    logits[0, bad[0].nonzero()[0, 0]], logits[0, allowed[0][0]] = 5.0, 0.0
    logits[1, allowed[1][:2]] = 0.0
    model = FixedLogits(logits)
    options = {"steps": 2, "schedule": linear, "temperature": 0.0, "generator": generator(0)}
    impl.decode_allowed(model, torch.zeros(20, dtype=torch.long), **options)
    first = (model.seen[1][:, 0] != model.mask_id).sum().item()
    assert first == 20, f"in {20 - first} of 20 samples place 0, certain of its code, was not fixed first"


@pytest.mark.law("decode_allowed")
def test_the_choice_noise_of_each_pass_is_drawn_anew(impl, drawn, seed):
    # Place 0 hesitates in the first pass and so stays open, with two of the eight others, chosen by noise alone. From
    # then on all three are sure: noise alone chooses again. If it were the same noise, place 0 would nearly always win.
    allowed = (~is_forbidden(drawn, 9, 16)).int().argmax(-1)  # (N,) a code for each place
    logits = 50 * torch.eye(16)[allowed].repeat(10, 1, 1)
    logits[0, 0] = 0
    model = Telling(logits)
    options = {"steps": 3, "schedule": square_root, "temperature": 0.1, "generator": generator(seed)}
    impl.decode_allowed(model, torch.zeros(300, dtype=torch.long), **options)
    left = (model.seen[2][:, 0] == model.mask_id).sum().item()
    said = f"one of three is left by noise alone: in {left / 300:.2f} of the samples it is place 0, expected 0.33"
    assert stats.binomtest(left, 300, 1 / 3).pvalue > 1e-6, said


@pytest.mark.law("decode_allowed")
def test_the_class_and_the_generator_decide(impl, drawn):
    labels = torch.arange(3)
    first, again, other = (impl.decode_allowed(MODEL, labels, generator=generator(s)) for s in (0, 0, 1))
    assert first.equal(again) and not first.equal(other), "does all noise come from the generator?"
    assert not unknown(first).any(), "a [MASK] is left"
    allowed = [(~bad).nonzero().flatten() for bad in is_forbidden(drawn, 4, K)]
    wanted = torch.stack([torch.stack([codes[c] for codes in allowed]) for c in range(4)])  # (C + 1, N)
    decoded = impl.decode_allowed(FixedLogits(50 * torch.eye(K)[wanted]), labels, generator=generator(0))
    assert decoded.equal(wanted[labels]), f"classes {labels.tolist()}: {oracles.instead(decoded, wanted[labels])}"


@pytest.mark.law("decode_allowed")
def test_options_that_are_left_out_have_the_exercise_s_defaults(impl, drawn):
    labels = torch.arange(4)
    model = FixedLogits(torch.randn(64, K, generator=generator(0)))
    options = {"steps": 8, "schedule": SCHEDULES["cosine"], "temperature": 4.5}
    given_, left_out = (impl.decode_allowed(model, labels, **these, generator=generator(1)) for these in (options, {}))
    assert given_.equal(left_out), "with steps=8, schedule=cosine and temperature=4.5 the answer is another"


# --- A step that was broken ---


@st.composite
def steps_to_fix(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """canvas (B, N), with 99 where unknown, drawn (B, N), sure (B, N) without ties, and quota (B,)."""
    batch, num_tokens = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    shape, seed = (batch, num_tokens), draw(seeds)
    sure = torch.randperm(batch * num_tokens, generator=generator(seed)).view(shape) / 2 - 3
    canvas = torch.arange(num_tokens).expand(shape).masked_fill(draw(masks(*shape)), 99)
    quota = draw(st.lists(st.integers(0, num_tokens), min_size=batch, max_size=batch))
    return canvas, canvas.new_tensor(range(batch * num_tokens)).view(shape) + 20, sure, torch.tensor(quota)


@pytest.mark.law("fix_best")
@given(canvas=steps_to_fix())
def test_each_row_fixes_its_own_quota_of_its_surest_unknown_places_and_nothing_else(impl, drawn, canvas):
    before, codes, sure, quota = canvas
    after = impl.fix_best(before, codes, sure, quota, 99)
    assert after.shape == before.shape, oracles.shape(after, before.shape)
    assert after.dtype == before.dtype, oracles.dtype(after, before.dtype)
    for row in range(len(before)):
        open_places = (before[row] == 99).nonzero().flatten().tolist()
        fixed = [place for place in open_places if after[row, place] != 99]
        count = min(int(quota[row]), len(open_places))
        assert len(fixed) == count, f"row {row}: {len(fixed)} places are fixed; expected {count}"
        left = [place for place in open_places if place not in fixed]
        in_order = min([sure[row, p] for p in fixed], default=9e9) > max([sure[row, p] for p in left], default=-9e9)
        assert in_order, f"row {row}: {fixed} are fixed, though one of {left} is surer"
        assert after[row, fixed].equal(codes[row, fixed]), f"row {row}: a fixed place has not its drawn token"
        known = before[row] != 99
        assert after[row, known].equal(before[row, known]), f"row {row}: a known token has changed"


@pytest.mark.law("fix_best_reason")
def test_the_reason_is_the_mistake_that_was_there(impl, drawn, graded):
    assert_is_the_reason(impl.fix_best_reason(), ("caller", "known", "order", "quota"), drawn["bug"], graded)
