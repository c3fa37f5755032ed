"""Laws of lesson 8's variants: balls of another kind, a Fréchet distance to predict, a score that was broken.

`drawn` is what the teacher's number drew (lessons/variants/lesson_8.py).
"""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator
from unsaid import assert_is_the_reason, assert_predicts

from minimaskgit import metrics
from minimaskgit.grading.variants import stubs

LESSON = {
    "strict_precision": (
        stubs(8),
        "lesson 8, 'Precision and recall': balls around real vectors; how many hold a fake?",
    ),
    "distance_of_gaussians": (stubs(8), "lesson 8, 'Fréchet distance': the root of a diagonal matrix"),
    "neighbours_alike": (stubs(8), "lesson 8: who is whose neighbour, and among how many is counted"),
    "neighbours_alike_reason": (stubs(8), "what you changed in neighbours_alike"),
}


@st.composite
def clouds(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clouds (N, D) and (M, D) on a grid of whole numbers, where ties are plenty and exact."""
    count, others, width = draw(st.integers(2, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    points = torch.randint(-4, 5, (count + others, width), generator=generator(draw(seeds))).float()
    return points[:count], points[count:]


def far(drawn: dict, one: list, other: list) -> float:
    away = [abs(x - y) for x, y in zip(one, other)]
    return sum(away) if drawn["distance"] == "sum" else max(away)


@pytest.mark.law("strict_precision")
@given(pair=clouds())
def test_so_many_fakes_lie_in_enough_balls(impl, drawn, pair):
    real, fake = pair
    points, radii = real.tolist(), []
    for at, centre in enumerate(points):
        nearest = min(far(drawn, centre, other) for i, other in enumerate(points) if i != at)
        radii.append(drawn["factor"] * nearest)
    holding = [sum(far(drawn, c, one) <= radius for c, radius in zip(points, radii)) for one in fake.tolist()]
    expected = sum(count >= drawn["needed"] for count in holding) / len(fake)
    found = float(impl.strict_precision(real, fake))
    assert found == pytest.approx(expected, abs=1e-6), f"returned {found:.3f}; the fakes lie in {holding} balls"


@pytest.mark.law("distance_of_gaussians")
def test_so_large_a_distance_is_measured(impl, drawn):
    mu = [torch.tensor(row, dtype=torch.double) for row in drawn["means"]]
    sigma = [torch.tensor(row, dtype=torch.double).square().diag() for row in drawn["spreads"]]
    measured = metrics.frechet_distance(mu[0], sigma[0], mu[1], sigma[1]).item()
    assert_predicts(impl.distance_of_gaussians(), measured, 0.001)


@pytest.mark.law("neighbours_alike")
@given(draw=seeds, count=st.integers(2, 7), width=st.integers(1, 3), classes=st.integers(1, 3), k=st.integers(1, 6))
def test_a_share_goes_up_by_1_over_k_for_each_near_one_of_the_same_class(impl, drawn, draw, count, width, classes, k):
    source, k = generator(draw), min(k, count - 1)
    features = torch.randn(count, width, generator=source)
    labels = torch.randint(classes, (count,), generator=source)
    found = impl.neighbours_alike(features, labels, k)
    assert found.dtype == torch.float64, oracles.dtype(found, torch.float64)
    assert found.shape == (count,), oracles.shape(found, (count,))
    for at in range(count):
        away = {other: (features[other] - features[at]).double().norm().item() for other in range(count) if other != at}
        near = sorted(away, key=away.get)[:k]
        alike = sum(labels[other].item() == labels[at].item() for other in near)
        said = f"picture {at}: returned {found[at].item():.3f}; of its nearest {near}, {alike} are of its class"
        assert found[at].item() == pytest.approx(alike / k, abs=1e-6), said


@pytest.mark.law("neighbours_alike")
def test_a_picture_is_no_neighbour_of_its_own_even_beside_its_copy(impl, drawn):
    found = impl.neighbours_alike(torch.ones(2, 3), torch.tensor([0, 1]), 1)
    assert found.tolist() == [0.0, 0.0], f"two copies of different classes: returned {found.tolist()}"


@pytest.mark.law("neighbours_alike_reason")
def test_the_reason_is_the_mistake_that_was_there(impl, drawn, graded):
    assert_is_the_reason(impl.neighbours_alike_reason(), ("class", "far", "itself", "total"), drawn["bug"], graded)
