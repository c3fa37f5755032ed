"""Laws of lesson 9's variants: a learning rate given by a graph, and the operations of another transformer.

`drawn` is what the teacher's number drew (lessons/variants/lesson_9.py). Operations are measured: torch counts those of
a transformer that is really run, forward and backward.
"""

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from unsaid import assert_predicts

from minimaskgit.grading.variants import stubs

LESSON = {
    "graph_rate": (stubs(9), "lesson 9, 'The schedule': step / steps, and a line between two points"),
    "mean_rate": (stubs(9), "lesson 9, 'The schedule': the area under a curve"),
    "other_flops": (stubs(9), "lesson 9, 'Counting': 6 operations a parameter and token, 6 S^2 width a product"),
}


@pytest.mark.law("graph_rate")
@given(segment=st.integers(0, 3), share=st.integers(0, 100), scale=st.integers(1, 5))
def test_the_rate_goes_through_the_points_and_straight_between_them(impl, drawn, segment, share, scale):
    (a, high), (b, low) = drawn["points"][segment : segment + 2]
    steps = 2000 * scale  # every hundredth of a segment is a whole step
    step = min(round((a + (b - a) * share / 100) * steps), steps - 1)
    expected = high + (low - high) * (step / steps - a) / (b - a)
    found = oracles.plain(impl.graph_rate(step, steps))
    assert found == pytest.approx(expected, abs=1e-6), f"returned {found:.4f}; expected {expected:.4f}"


@pytest.mark.law("mean_rate")
def test_so_large_a_rate_is_measured_on_average(impl, drawn):
    rates = []
    for (a, high), (b, low) in zip(drawn["points"], drawn["points"][1:]):
        count = round((b - a) * 10_000)
        rates += [high + (low - high) * (i + 0.5) / count for i in range(count)]
    assert_predicts(impl.mean_rate(), sum(rates) / len(rates), 0.002)


def measured(drawn: dict, depth: int, width: int, mlp: int, num_codes: int, sequence: int, batch: int) -> int:
    """Operations of a transformer's matrices, run forward and backward, as torch counts them."""
    matrix = lambda *shape: torch.ones(shape, requires_grad=True)
    narrow, heads = width // drawn["shrink"], drawn["shrink"]
    with FlopCounterMode(display=False) as counter:
        x = matrix(batch * sequence, width)
        for _ in range(depth):
            q, k, v = (x @ matrix(width, wide) for wide in (width, narrow, narrow))
            q = q.view(batch, sequence, heads, narrow).transpose(1, 2).reshape(batch * heads, sequence, narrow)
            k, v = (y.view(batch, sequence, narrow).repeat_interleave(heads, 0) for y in (k, v))
            seen = torch.bmm(torch.bmm(q, k.mT), v).view(batch, heads, sequence, narrow)
            x = x + seen.transpose(1, 2).reshape(-1, width) @ matrix(width, width)
            up = x @ matrix(width, mlp)
            up = up * (x @ matrix(width, mlp)) if drawn["gated"] else up
            x = x + up @ matrix(mlp, width)
        asked = x.view(batch, sequence, width)[:, : sequence // drawn["asked"]].reshape(-1, width)
        (asked @ matrix(width, width) @ matrix(width, num_codes)).sum().backward()
    return counter.get_total_flops()


@pytest.mark.law("other_flops")
@settings(max_examples=15)
@given(sizes=st.tuples(*[st.integers(1, 3)] * 6))
def test_so_many_operations_are_counted_when_it_runs(impl, drawn, sizes):
    depth, wide, mlp, codes, long, batch = sizes
    width, sequence = 4 * wide, 8 * long
    names = ("depth", "width", "mlp_width", "num_codes", "sequence", "batch_size")
    given_sizes = dict(zip(names, (depth, width, 5 * mlp, 7 * codes, sequence, batch)))
    expected = measured(drawn, *given_sizes.values())
    found = oracles.plain(impl.other_flops(**given_sizes))
    assert found == pytest.approx(expected, rel=1e-6), f"returned {found:.0f}; torch counts {expected}"
