"""Laws of lesson 6's variants: another order of reading, a sampler with a rule, what a cache saves.

`drawn` is what the teacher's number drew (lessons/variants/lesson_6.py).
"""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import seeds
from tiny import generator
from unsaid import assert_predicts

from minimaskgit.grading.variants import stubs

LESSON = {
    "read_in_order": (stubs(6), "lesson 6, 'Shifting': what has been painted when a token is asked for"),
    "sample_after": (stubs(6), "lesson 6, 'Sampling': softmax at a temperature, over the codes that may follow"),
    "positions_saved": (stubs(6), "lesson 6, 'The cache': what is read again, and what is not"),
}

# When a place (row, column) of a picture is painted: places are sorted by this.
WHEN = {
    "columns": lambda row, column, height, width: (column, row),
    "snake": lambda row, column, height, width: (row, -column if row % 2 else column),
    "backwards": lambda row, column, height, width: (-row, -column),
    "outside": lambda row, column, height, width: (
        min(2 * (row * width + column), 2 * (height * width - 1 - row * width - column) + 1),
    ),
}


@pytest.mark.law("read_in_order")
@given(height=st.integers(1, 5), width=st.integers(1, 5), batch=st.integers(1, 3), draw=seeds)
def test_when_a_token_is_asked_for_all_painted_before_it_have_been_read(impl, drawn, height, width, batch, draw):
    tokens = torch.randperm(batch * height * width, generator=generator(draw)).view(batch, height, width)
    start = 1000 + torch.arange(batch)[:, None]
    read = impl.read_in_order(tokens, start)
    assert read.shape == (batch, height * width), oracles.shape(read, (batch, height * width))
    assert read.dtype == torch.int64, oracles.dtype(read, torch.int64)
    places = [(row, column) for row in range(height) for column in range(width)]
    places.sort(key=lambda place: WHEN[drawn["order"]](*place, height, width))
    for sample in range(batch):
        expected = [1000 + sample, *(tokens[sample, row, column].item() for row, column in places[:-1])]
        assert read[sample].tolist() == expected, f"sample {sample} reads {read[sample].tolist()}; expected {expected}"


def forbidden(drawn: dict, last: torch.Tensor, num_codes: int) -> torch.Tensor:
    """Bool (B, K)."""
    return (last[:, None] + torch.arange(num_codes)) % drawn["parts"] == drawn["part"]


@pytest.mark.law("sample_after")
@given(batch=st.integers(1, 5), num_codes=st.integers(2, 9), draw=seeds)
def test_no_code_comes_that_may_not_follow_even_where_it_would_win(impl, drawn, batch, num_codes, draw):
    last = torch.randint(num_codes, (batch,), generator=generator(draw))
    bad = forbidden(drawn, last, num_codes)
    logits = 1e4 * bad + torch.randn(batch, num_codes, generator=generator(draw + 1))
    found = impl.sample_after(logits, last, generator(draw))
    assert found.dtype == torch.int64, oracles.dtype(found, torch.int64)
    assert found.shape == (batch,), oracles.shape(found, (batch,))
    assert ((found >= 0) & (found < num_codes)).all(), f"returned {found.tolist()} of {num_codes} codes"
    assert not bad.gather(1, found[:, None]).any(), f"returned {found.tolist()} after {last.tolist()}"


@pytest.mark.law("sample_after")
def test_the_others_come_as_often_as_the_temperature_says(impl, drawn, seed):
    logits, last = torch.randn(2, 7, generator=generator(seed)), torch.tensor([1, 2])
    bad = forbidden(drawn, last, 7)
    found = impl.sample_after(logits.repeat(5000, 1), last.repeat(5000), generator(seed + 1)).view(5000, 2)
    for row in range(2):
        counts = found[:, row].bincount(minlength=7)
        expected = 5000 * (logits[row].double() / drawn["tau"]).masked_fill(bad[row], -torch.inf).softmax(0)
        assert not counts[bad[row]].any(), f"drawn {counts.tolist()} after {last[row].item()}"
        pvalue = stats.chisquare(counts[~bad[row]], expected[~bad[row]]).pvalue
        assert pvalue > 1e-6, f"drawn {counts.tolist()} after {last[row].item()}; expected {expected.int().tolist()}"


@pytest.mark.law("sample_after")
def test_the_generator_alone_decides(impl, drawn):
    logits, last = torch.zeros(40, 12), torch.arange(40) % 12
    first, again, other = (impl.sample_after(logits, last, generator(s)) for s in (0, 0, 1))
    assert first.equal(again) and not first.equal(other), "does all randomness come from the generator?"


@pytest.mark.law("positions_saved")
def test_so_many_positions_are_counted(impl, drawn):
    without, with_cache, read = 0, 0, 0
    for known in range(drawn["prompt"], drawn["tokens"]):  # tokens that there are when the next is asked for
        without += 1 + known
        with_cache += 1 + known - read
        read = 1 + known
    assert_predicts(impl.positions_saved(), without - with_cache, 1e-9)
