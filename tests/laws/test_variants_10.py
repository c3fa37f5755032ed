"""Laws of lesson 10's variants: an order in other bases around forbidden places, tokens that are taken back.

`drawn` is what the teacher's number drew (lessons/variants/lesson_10.py).
"""

from fractions import Fraction
from itertools import count as counting

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator
from unsaid import assert_is_the_reason

from minimaskgit.grading.variants import stubs

LESSON = {
    "other_order": (stubs(10), "lesson 10, 'Halton's order': digits mirrored at the point, in whole numbers"),
    "take_back": (stubs(10), "lesson 10, 'Taking back'; try it on rows that differ, and with equal scores"),
    "take_back_reason": (stubs(10), "what you changed in take_back"),
}
sides = st.integers(1, 9)


def allowed(drawn: dict, row: int, column: int) -> bool:
    return (row + column) % drawn["parts"] != drawn["part"]


@pytest.mark.law("other_order")
@settings(max_examples=20)
@given(height=sides, width=sides)
def test_every_allowed_place_comes_once_and_no_other(impl, drawn, height, width):
    order = impl.other_order(height, width)
    assert order.dtype == torch.int64, oracles.dtype(order, torch.int64)
    places = [row * width + column for row in range(height) for column in range(width) if allowed(drawn, row, column)]
    assert sorted(order.tolist()) == places, f"{height} x {width}: visits {sorted(order.tolist())}; expected {places}"


@pytest.mark.law("other_order")
@settings(max_examples=20)
@given(height=sides, width=sides)
def test_a_place_comes_when_the_first_point_falls_into_it(impl, drawn, height, width):
    order = impl.other_order(height, width).tolist()
    waiting, visited = set(order), []
    for i in counting(1):
        if not waiting or i > 100_000:
            break
        row, column = (int(side * mirrored(i, base)) for side, base in zip((height, width), drawn["bases"]))
        if row * width + column in waiting:
            waiting.remove(row * width + column)
            visited.append(row * width + column)
    expected = visited[::-1] if drawn["from_the_end"] else visited
    assert order == expected, f"{height} x {width}: returned {order}; expected {expected}"


def mirrored(i: int, base: int) -> Fraction:
    """0.a0 a1 a2... in a base, for i = ...a2 a1 a0: each digit is worth a base-th of the one before it."""
    found, worth = Fraction(0), Fraction(1)
    while i:
        i, digit = divmod(i, base)
        worth /= base
        found += digit * worth
    return found


# --- A step that was broken ---


@st.composite
def suspects(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """tokens (B, N) with 99 where masked, scores (B, N) of which many are equal, quota (B,)."""
    batch, num_tokens, source = draw(st.integers(1, 3)), draw(st.integers(1, 6)), generator(draw(seeds))
    tokens = torch.randint(9, (batch, num_tokens), generator=source)
    tokens = tokens.masked_fill(torch.rand(tokens.shape, generator=source) < 0.4, 99)
    scores = torch.randint(-3, 4, tokens.shape, generator=source) / 2
    return tokens, scores, torch.randint(num_tokens + 1, (batch,), generator=source)


@pytest.mark.law("take_back")
@given(drawn_rows=suspects())
def test_each_row_gives_back_its_own_quota_of_its_most_suspicious_known_tokens(impl, drawn, drawn_rows):
    tokens, scores, quota = drawn_rows
    before = tokens.clone()
    after = impl.take_back(tokens, scores, quota, 99)
    assert tokens.equal(before), "the tokens that were passed in have changed"
    assert after.shape == before.shape, oracles.shape(after, before.shape)
    assert after.dtype == before.dtype, oracles.dtype(after, before.dtype)
    for row in range(len(before)):
        known = (before[row] != 99).nonzero().flatten().tolist()
        taken = [place for place in known if after[row, place] == 99]
        count = min(int(quota[row]), len(known))
        assert len(taken) == count, f"row {row}: {len(taken)} of {len(known)} known tokens are taken; expected {count}"
        kept = [place for place in known if place not in taken]
        of_taken, of_kept = ([scores[row, place].item() for place in places] for places in (taken, kept))
        said = f"row {row}: tokens with the scores {of_taken} are taken, and {of_kept} kept"
        assert min(of_taken, default=9) >= max(of_kept, default=-9), said
        others = [place for place in range(before.shape[1]) if place not in taken]
        assert after[row, others].equal(before[row, others]), f"row {row}: a token that was not taken has changed"


@pytest.mark.law("take_back_reason")
def test_the_reason_is_the_mistake_that_was_there(impl, drawn, graded):
    assert_is_the_reason(impl.take_back_reason(), ("equal", "least", "total", "unknown"), drawn["bug"], graded)
