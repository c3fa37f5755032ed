"""Laws of lesson 4's variants: who sees whom, how many pairs that leaves, heads that share their keys.

`drawn` is what the teacher's number drew (lessons/variants/lesson_4.py). Who sees whom is found by changing a value and
looking whose answer changes.
"""

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator
from unsaid import assert_predicts

from minimaskgit.grading.variants import stubs

LESSON = {
    "ruled_attention": (stubs(4), "lesson 4, 'Who sees whom': what a query may not see gets no weight at all"),
    "pairs_seen": (stubs(4), "lesson 4: draw the matrix of queries and keys, and count its squares; mind the edges"),
    "shared_attention": (stubs(4), "lesson 4, 'Heads': (B, heads, S, d), and which head looks at which keys"),
}
few_runs = settings(max_examples=25)


def sees(drawn: dict, query: int, key: int) -> bool:
    far, reach = query - key, drawn["reach"]
    rules = {"window": abs(far) <= reach, "before": 0 <= far <= reach, "stride": far % reach == 0}
    return (rules | {"first": key < reach or far == 0})[drawn["rule"]]


@st.composite
def heads(draw: st.DrawFn, groups: int = 2) -> tuple[torch.Tensor, ...]:
    """q (B, groups G, S, d), k and v (B, G, S, d)."""
    batch, count, places, width = (draw(st.integers(1, most)) for most in (2, 2, 9, 3))
    source = generator(draw(seeds))
    shapes = [(batch, groups * count, places, width), *[(batch, count, places, width)] * 2]
    return tuple(torch.randn(shape, generator=source) for shape in shapes)


@pytest.mark.law("ruled_attention")
@few_runs
@given(qkv=heads(1))
def test_a_query_listens_to_all_that_it_may_see_and_to_nobody_else(impl, drawn, qkv):
    q, k, v = qkv
    before = impl.ruled_attention(q, k, v)
    assert before.shape == q.shape, oracles.shape(before, q.shape)
    for key in range(q.shape[2]):
        changed = v.clone()
        changed[:, :, key] += 1000
        moved = (impl.ruled_attention(q, k, changed) - before).abs().amax((0, 1, 3)) > 1e-3
        expected = [sees(drawn, query, key) for query in range(q.shape[2])]
        assert moved.tolist() == expected, f"key {key} is seen by the queries {moved.tolist()}; expected {expected}"


@pytest.mark.law("ruled_attention")
@few_runs
@given(qkv=heads(1), query=st.integers(0, 8))
def test_among_what_it_sees_a_query_attends_as_if_there_were_nothing_else(impl, drawn, qkv, query):
    q, k, v = qkv
    query = min(query, q.shape[2] - 1)
    seen = [key for key in range(q.shape[2]) if sees(drawn, query, key)]
    scores = torch.einsum("bhd,bhkd->bhk", q[:, :, query], k[:, :, seen]).double() / q.shape[3] ** 0.5
    expected = torch.einsum("bhk,bhkd->bhd", scores.softmax(-1), v[:, :, seen].double())
    found = impl.ruled_attention(q, k, v)[:, :, query]
    assert torch.allclose(found.double(), expected, atol=1e-4), oracles.instead(found, expected)


@pytest.mark.law("pairs_seen")
def test_so_many_pairs_are_counted(impl, drawn):
    places = range(drawn["places"])
    assert_predicts(impl.pairs_seen(), sum(sees(drawn, query, key) for query in places for key in places), 1e-9)


@pytest.mark.law("shared_attention")
@few_runs
@given(draw=seeds, count=st.integers(1, 3), places=st.integers(1, 4), batch=st.integers(1, 2))
def test_each_head_of_queries_attends_to_the_keys_of_its_own_group(impl, drawn, draw, count, places, batch):
    source, share = generator(draw), drawn["share"]
    q = torch.randn(batch, share * count, places, 3, generator=source)
    k, v = torch.randn(2, batch, count, places, 3, generator=source)
    found = impl.shared_attention(q, k, v)
    assert found.shape == q.shape, oracles.shape(found, q.shape)
    for head in range(q.shape[1]):
        scores = (q[:, head].double() @ k[:, head // share].double().mT) / 3**0.5
        expected = scores.softmax(-1) @ v[:, head // share].double()
        said = f"head {head} of {q.shape[1]}: {oracles.instead(found[:, head], expected)}"
        assert torch.allclose(found[:, head].double(), expected, atol=1e-4), said
