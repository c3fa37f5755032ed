"""Laws of lesson 8: distances between clouds of features, the inception score, precision and recall (section 4.1)."""

import numpy as np
import oracles
import pytest
import scipy.linalg
import scipy.special
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator

from minimaskgit import metrics

FRECHET = (
    "lesson 8, 'Two clouds as two Gaussians: the Fréchet distance':"
    " |mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), the root of a matrix (Heusel 2017)"
)
SCORE = (
    "lesson 8, 'Sure of each, and of all kinds: the inception score':"
    " exp of the mean KL(p(y|x) || p(y)), p(y) the mean over pictures"
)
BALLS = (
    "lesson 8, 'Two questions in place of one: precision and recall':"
    " precision asks of fakes, recall of real ones (Kynkäänniemi 2019)"
)

LESSON = {
    "frechet_distance": (metrics, FRECHET),
    "inception_score": (metrics, SCORE),
    "precision_recall": (metrics, BALLS),
}

spreads = st.floats(0.5, 4)
deviations = st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=3, max_size=3)


@st.composite
def gaussians(draw: st.DrawFn, dimensions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """mu (D,) and sigma (D, D), in double precision; none of its eigenvalues is small."""
    random = generator(draw(seeds))
    mu = torch.randn(dimensions, dtype=torch.double, generator=random).mul(10).round() / 10
    root = torch.randn(dimensions, dimensions, dtype=torch.double, generator=random).mul(10).round() / 10
    return mu, root @ root.T + 0.5 * torch.eye(dimensions)


@st.composite
def clouds(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """real (N, 2), fake (M, 2), without twins, and k less than both."""
    k, random, drawn = draw(st.integers(1, 3)), generator(draw(seeds)), []
    for spread in (1.0, draw(spreads)):
        cloud = spread * torch.randn(draw(st.integers(k + 1, 9)), 2, generator=random)
        drawn.append(cloud.mul(10).round() / 10)
        assume(len(drawn[-1].unique(dim=0)) == len(cloud))  # a ball of radius 0 holds its twin but for rounding
    return *drawn, k


@st.composite
def opinions(draw: st.DrawFn) -> tuple[torch.Tensor, int]:
    """probs (N, C) and a number of splits."""
    count, classes = draw(st.integers(2, 12)), draw(st.integers(2, 4))
    logits = draw(st.sampled_from([1.0, 5.0])) * torch.randn(count, classes, generator=generator(draw(seeds)))
    return logits.double().softmax(-1), draw(st.integers(1, count))


# --- The Fréchet distance ---


@pytest.mark.law("frechet_distance")
@given(one=gaussians(), other=gaussians())
def test_the_frechet_distance_of_clouds_of_one_shape_is_that_of_their_means_squared(impl, one, other):
    (mu1, sigma), (mu2, _) = one, other
    found, expected = impl.frechet_distance(mu1, sigma, mu2, sigma).item(), (mu1 - mu2).square().sum().item()
    assert found == pytest.approx(expected, 1e-3, abs=1e-3), oracles.instead(found, expected)


@pytest.mark.law("frechet_distance")
@given(s1=deviations, s2=deviations)
def test_of_independent_features_the_distance_adds_up_from_their_deviations(impl, s1, s2):
    zero, (one, other) = torch.zeros(3).double(), (torch.tensor(s).double() for s in (s1, s2))
    found = impl.frechet_distance(zero, one.square().diag(), zero, other.square().diag()).item()
    expected = (one - other).square().sum().item()
    assert found == pytest.approx(expected, 1e-3, abs=1e-3), oracles.instead(found, expected)


@pytest.mark.law("frechet_distance")
@given(one=gaussians(), other=gaussians())
def test_the_frechet_distance_is_the_formula_with_the_root_of_the_product(impl, one, other):
    (mu1, sigma1), (mu2, sigma2) = one, other
    traces = np.trace(sigma1 + sigma2 - 2 * scipy.linalg.sqrtm(sigma1.numpy() @ sigma2.numpy()).real)
    expected = np.square(mu1 - mu2).sum().item() + traces
    found = impl.frechet_distance(*one, *other).item()
    assert found == pytest.approx(expected, 1e-3, abs=1e-3), oracles.instead(found, expected)


@pytest.mark.law("frechet_distance")
@given(draw=seeds, rank=st.integers(0, 2), shift=st.integers(0, 3))
def test_the_frechet_distance_is_a_number_even_if_the_covariances_are_singular(impl, draw, rank, shift):
    root = torch.randn(3, rank, dtype=torch.double, generator=generator(draw))  # as of fewer pictures than features
    mu, sigma = torch.zeros(3, dtype=torch.double), root @ root.T
    found, expected = impl.frechet_distance(mu, sigma, mu + shift, sigma).item(), 3 * shift**2
    assert found == pytest.approx(expected, 1e-3, abs=1e-3), oracles.instead(found, expected)


@pytest.mark.law("frechet_distance")
@given(one=gaussians(), other=gaussians())
def test_the_frechet_distance_is_a_float64_also_of_statistics_in_float32(impl, one, other):
    found, expected = impl.frechet_distance(*(x.float() for x in (*one, *other))), impl.frechet_distance(*one, *other)
    assert found.dtype == torch.float64, oracles.dtype(found, torch.float64)
    close = found.item() == pytest.approx(expected.item(), 1e-3, abs=1e-3)
    assert close, oracles.instead(found.item(), expected.item())


# --- The inception score ---


@pytest.mark.law("inception_score")
@given(classes=st.integers(1, 10))
def test_sure_of_every_picture_and_of_all_classes_alike_scores_their_number(impl, classes):
    score = impl.inception_score(torch.eye(classes).repeat(6, 1), 3)[0].item()
    assert score == pytest.approx(classes, 1e-3), f"returned {score:.4f}; expected {classes} (0 log 0 is 0)"


@pytest.mark.law("inception_score")
@given(draw=seeds, classes=st.integers(2, 4))
def test_the_same_opinion_of_every_picture_scores_one(impl, draw, classes):
    opinion = torch.randn(classes, generator=generator(draw)).softmax(-1)
    score = impl.inception_score(opinion.expand(8, classes), 2)[0].item()
    assert score == pytest.approx(1, 1e-3), f"returned {score:.4f}; expected 1"


@pytest.mark.law("inception_score")
@given(drawn=opinions())
def test_the_inception_score_is_the_exponential_of_the_mean_divergence(impl, drawn):
    probs, splits = drawn
    expected = [
        np.exp(np.mean([scipy.special.rel_entr(row, part.mean(0)).sum() for row in part]))
        for part in np.array_split(probs.numpy(), splits)
    ]
    options = {"splits": splits} if splits > 1 else {}
    mean, deviation = (value.item() for value in impl.inception_score(probs, **options))
    assert mean == pytest.approx(np.mean(expected), 1e-3), f"mean: {oracles.instead(mean, np.mean(expected))}"
    spread = np.std(expected)
    assert deviation == pytest.approx(spread, 1e-2, abs=1e-3), f"deviation: {oracles.instead(deviation, spread)}"


# --- Precision and recall ---


@pytest.mark.law("precision_recall")
@given(drawn=clouds())
def test_a_cloud_is_precise_about_itself_and_recalls_itself(impl, drawn):
    real, _, k = drawn
    found = [value.item() for value in impl.precision_recall(real, real.flip(0), k)]
    assert found == [1, 1], f"a cloud with itself: returned {found}; expected [1, 1]"


@pytest.mark.law("precision_recall")
@given(draw=seeds)
def test_few_true_copies_are_precise_and_recall_little(impl, draw):
    real = torch.randn(20, 2, generator=generator(draw))
    fake = real[:1] + 1e-3 * torch.arange(5)[:, None]  # all next to one real picture
    precision, recall = (value.item() for value in impl.precision_recall(real, fake, 3))
    assert precision == 1, f"copies of a real picture: the precision is {precision:.3f}; expected 1"
    assert recall < 0.5, f"copies of a single picture: the recall is {recall:.3f}; expected less than 0.5"


@pytest.mark.law("precision_recall")
@given(drawn=clouds())
def test_precision_and_recall_are_what_drawing_every_ball_gives(impl, drawn):
    real, fake, k = drawn
    precision, recall = impl.precision_recall(real, fake, **({"k": k} if k != 3 else {}))
    for name, found, points, cloud in (("precision", precision, fake, real), ("recall", recall, real, fake)):
        assert found.shape == (), f"{name}: {oracles.shape(found, ())}"
        # Where a point lies on the edge of a ball but for rounding, inside and outside will both do.
        least, most = (share_in_balls(points, cloud, k, slack) for slack in (-1e-4, 1e-4))
        held = least - 1e-6 <= found.item() <= most + 1e-6
        assert held, f"{name}: returned {found.item():.3f}; expected {most:.3f}"


def share_in_balls(points: torch.Tensor, cloud: torch.Tensor, k: int, slack: float) -> float:
    """The fraction of the points that lie in the ball of any vector of a cloud."""
    balls = oracles.balls(cloud, k)
    return np.mean([any(oracles.holds(ball, x, slack) for ball in balls) for x in points.double().numpy()])
