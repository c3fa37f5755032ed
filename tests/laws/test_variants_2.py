"""Laws of lesson 2's variants: margins, layers that count less and less, a weight that was broken.

`drawn` is what the teacher's number drew (lessons/variants/lesson_2.py).
"""

import math

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator
from unsaid import assert_is_the_reason

from minimaskgit.grading.variants import stubs

LESSON = {
    "margin_loss": (stubs(2), "lesson 2, 'The hinge': whoever is beyond the margin is left alone"),
    "layered_loss": (stubs(2), "lesson 2, 'Perceptual loss': distances of features, layer by layer"),
    "balance": (stubs(2), "lesson 2, 'The adaptive weight'; try it with large gradients, and ask for a gradient"),
    "balance_reason": (stubs(2), "what you changed in balance"),
}
scores = st.lists(st.integers(-40, 40).map(lambda tenths: tenths / 10), min_size=1, max_size=5)


# --- Margins ---


@pytest.mark.law("margin_loss")
@given(real=scores, fake=scores)
def test_each_score_costs_by_how_far_it_is_from_its_margin(impl, drawn, real, fake):
    found = impl.margin_loss(torch.tensor(real), torch.tensor([fake]))
    assert found.shape == (), oracles.shape(found, ())
    cost = lambda missing: max(0.0, missing) ** (2 if drawn["square"] else 1)
    of_real = math.fsum(cost(drawn["real_margin"] - score) for score in real) / len(real)
    of_fake = math.fsum(cost(score + drawn["fake_margin"]) for score in fake) / len(fake)
    expected = drawn["real_weight"] * of_real + (1 - drawn["real_weight"]) * of_fake
    assert found.item() == pytest.approx(expected, abs=1e-4), oracles.instead(found, expected)


@pytest.mark.law("margin_loss")
@given(real=scores, fake=scores)
def test_scores_beyond_their_margin_teach_nothing_and_all_others_the_right_way(impl, drawn, real, fake):
    inside = lambda values: [value + 0.05 for value in values]  # never on the edge
    real, fake = torch.tensor(inside(real)), torch.tensor(inside(fake))
    up, down = impl.gradients("margin_loss", real, fake)
    assert up is not None and down is not None, "no gradient reaches the scores"
    assert (up < 0).equal(real < drawn["real_margin"]), f"gradients {up.tolist()} of real scores {real.tolist()}"
    assert (down > 0).equal(fake > -drawn["fake_margin"]), f"gradients {down.tolist()} of fakes {fake.tolist()}"


# --- Layers ---


@st.composite
def two_pictures(draw: st.DrawFn) -> tuple[list, list]:
    """Two pictures' feature maps (B, C, H, W), up to three layers."""
    seed, layers = draw(seeds), draw(st.integers(1, 3))
    sides = [(2, draw(st.integers(1, 3)), draw(st.integers(1, 3)), 2) for _ in range(layers)]
    return tuple([torch.randn(shape, generator=generator(seed + i)) for shape in sides] for i in (0, 1))


@pytest.mark.law("layered_loss")
@given(pictures=two_pictures())
def test_each_layer_counts_by_its_weight_and_each_place_by_its_direction(impl, drawn, pictures):
    found = impl.layered_loss(*pictures)
    assert found.shape == (), oracles.shape(found, ())
    terms = []
    for one, other in zip(*pictures):
        unit = [x.double().numpy() for x in (one, other)]
        unit = [x / (((x * x).sum(1, keepdims=True)) ** 0.5 + 1e-6) for x in unit]
        off = abs(unit[0] - unit[1])
        terms.append((off if drawn["absolute"] else off * off).mean())
    weights = [drawn["falling"] ** layer for layer in range(len(terms))]
    expected = sum(weight * term for weight, term in zip(weights, terms)) / sum(weights)
    assert found.item() == pytest.approx(expected, abs=1e-4), oracles.instead(found, expected)


@pytest.mark.law("layered_loss")
@given(pictures=two_pictures(), scale=st.sampled_from([0.1, 3.0, 50.0]))
def test_how_strong_the_features_are_does_not_matter_and_only_the_first_picture_learns(impl, drawn, pictures, scale):
    one, other = pictures
    louder = impl.layered_loss([scale * x for x in one], other)
    assert torch.allclose(louder, impl.layered_loss(one, other), atol=1e-3), "scaled features gave another loss"
    assert impl.layered_loss(one, one).item() == pytest.approx(0, abs=1e-6), "a picture differs from itself"
    found = impl.gradients("layered_loss", one, other)
    to_other = [g for g in found[len(one) :] if g is not None]
    assert not any(g.any() for g in to_other), "features_b get a gradient"
    wide = [x.shape[1] > 1 for x in one]  # with one channel only the sign is left
    assert all(g is not None and g.any() for g, w in zip(found, wide) if w), "features_a get no gradient"


# --- A weight that was broken ---

SIZES = {
    "sum": lambda g: sum(map(abs, g)),
    "largest": lambda g: max(map(abs, g)),
    "squares": lambda g: sum(x * x for x in g) / len(g),
}


@pytest.mark.law("balance")
@given(
    draw=seeds,
    scale=st.sampled_from([0.0, 0.01, 1.0, 1e4]),
    rows=st.integers(1, 3),
    other=st.sampled_from([1.0, 0.003, 0.0]),  # where the other gradient is small, the 1e-4 counts
)
def test_the_weight_is_the_ratio_of_sizes_up_to_its_limit(impl, drawn, draw, scale, rows, other):
    rec, gan = torch.randn(2, rows, 2, 2, generator=generator(draw))
    gan = other * gan * torch.tensor([1.0, 9.0, 0.1])[:rows, None, None]
    size = lambda g: SIZES[drawn["norm"]](g.double().flatten().tolist())
    expected = min(drawn["limit"], size(scale * rec) / (size(gan) + 1e-4))
    found = impl.balance(scale * rec, gan)
    assert found.shape == (), oracles.shape(found, ())
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-6), oracles.instead(found, expected)


@pytest.mark.law("balance")
def test_the_weight_has_no_gradient(impl, drawn):
    found = impl.gradients("balance", torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 2.0], [1.0, 5.0]]))
    assert found == [None, None], "a gradient reaches the two gradients"


@pytest.mark.law("balance_reason")
def test_the_reason_is_the_mistake_that_was_there(impl, drawn, graded):
    assert_is_the_reason(impl.balance_reason(), ("attached", "cap", "inverted", "rows"), drawn["bug"], graded)
