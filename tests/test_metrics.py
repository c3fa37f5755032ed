"""The metrics, checked against plain numpy, scipy and torchmetrics (lesson 8).

Laws of the functions that students write are in laws/test_lesson_8.py.
"""

import numpy as np
import oracles
import pytest
import scipy.linalg
import scipy.special
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import normal, seeds
from tiny import generator
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore

from minimaskgit import metrics
from minimaskgit.metrics import (
    density_coverage,
    feature_statistics,
    frechet_distance,
    inception_score,
    neighbour_distances,
    precision_recall,
)

WIDTH = 5  # D
neighbours = st.integers(1, 6)  # k


@st.composite
def clouds(draw: st.DrawFn, least: int = 8, most: int = 30) -> Tensor:
    """Feature vectors (N, D) with drawn mean, spread and rank; some of them may be equal."""
    count, rank, draw_from = draw(st.integers(least, most)), draw(st.integers(1, WIDTH)), generator(draw(seeds))
    cloud = torch.randn(count, rank, generator=draw_from) @ torch.randn(rank, WIDTH, generator=draw_from)
    cloud = cloud + torch.randn(WIDTH, generator=draw_from)
    return cloud.round() if draw(st.booleans()) else cloud


def distance(a: Tensor, b: Tensor) -> float:
    return frechet_distance(*feature_statistics(a), *feature_statistics(b)).item()


def rotation(seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.double, generator=generator(seed)))[0]


class Features(nn.Module):
    """Stands in for torchmetrics' network: the pictures already are feature vectors."""

    num_features = WIDTH

    def forward(self, features: Tensor) -> Tensor:
        return features


# --- The Fréchet distance ---


@given(clouds())
def test_the_statistics_are_numpy_s_mean_and_covariance(cloud):
    mu, sigma = feature_statistics(cloud)
    assert mu.dtype == sigma.dtype == torch.double
    np.testing.assert_allclose(mu, cloud.double().numpy().mean(0), atol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(cloud.double().numpy(), rowvar=False), atol=1e-12)


@given(normal(40, WIDTH), normal(30, WIDTH), st.floats(0.1, 10))
def test_the_frechet_distance_is_the_formula_with_scipy_s_root_of_the_product(a, b, scale):
    a, b = a.double().numpy(), scale * b.double().numpy()
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    traces = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * scipy.linalg.sqrtm(product).real)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + traces
    assert distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-6)


@given(normal(40, WIDTH), normal(30, WIDTH))
def test_the_frechet_distance_is_torchmetrics_own(a, b):
    metric = FrechetInceptionDistance(Features())
    metric.update(a.double(), real=True)
    metric.update(b.double(), real=False)
    assert distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-6)


@given(clouds())
def test_a_cloud_is_at_distance_zero_from_itself_even_if_its_covariance_is_singular(cloud):
    assert 0 <= distance(cloud, cloud) < 1e-9


@given(clouds(), clouds())
def test_the_frechet_distance_is_symmetric_and_never_negative(a, b):
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-6, abs=1e-6)
    assert distance(a, b) >= 0


@given(clouds(), normal(WIDTH))
def test_moving_a_cloud_by_d_puts_it_at_distance_d_squared(cloud, d):
    d = d.double()
    assert distance(cloud, cloud.double() + d) == pytest.approx(d.square().sum().item(), rel=1e-6, abs=1e-9)


@given(clouds(), clouds(), seeds)
def test_rotating_both_clouds_alike_changes_nothing(a, b, seed):
    a, b, turn = a.double(), b.double(), rotation(seed)
    assert distance(a @ turn, b @ turn) == pytest.approx(distance(a, b), rel=1e-5, abs=1e-6)


@given(clouds(), st.floats(0.1, 10))
def test_scaling_features_by_s_scales_the_distance_by_s_squared(cloud, s):
    other = cloud.flip(1) + 1
    assert distance(s * cloud.double(), s * other.double()) == pytest.approx(
        s**2 * distance(cloud, other), rel=1e-5, abs=1e-6
    )


@given(
    st.lists(st.floats(0, 5), min_size=WIDTH, max_size=WIDTH), st.lists(st.floats(0, 5), min_size=WIDTH, max_size=WIDTH)
)
def test_for_independent_features_the_distance_is_a_sum_over_their_deviations(deviations1, deviations2):
    # Also if some are 0 and the covariances are singular, perhaps with no common support.
    s1, s2 = (torch.tensor(s, dtype=torch.double) for s in (deviations1, deviations2))
    found = frechet_distance(torch.zeros(WIDTH), s1.square().diag(), torch.zeros(WIDTH), s2.square().diag())
    assert found.item() == pytest.approx((s1 - s2).square().sum().item(), rel=1e-6, abs=1e-6)


def test_more_samples_of_a_distribution_are_closer_to_it():
    reference = torch.randn(5000, WIDTH, generator=generator(0))
    samples = torch.randn(2000, WIDTH, generator=generator(1))
    far, near = distance(samples[:20], reference), distance(samples, reference)
    assert far > 10 * near


def test_one_vector_has_no_covariance():
    with pytest.raises(ValueError, match="2 or more"):
        feature_statistics(torch.zeros(1, WIDTH))


# --- The inception score ---


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
@given(normal(60, WIDTH))
def test_the_inception_score_is_torchmetrics_own(logits):
    metric = InceptionScore(Features(), splits=1)
    metric.update(logits)
    assert inception_score(logits.softmax(-1))[0].item() == pytest.approx(metric.compute()[0].item(), rel=1e-4)


@given(normal(30, 4), st.floats(0, 50), st.integers(1, 5))
def test_the_inception_score_lies_between_one_and_the_number_of_classes(logits, sharpness, splits):
    mean, _ = inception_score((sharpness * logits).softmax(-1), splits)
    assert 1 - 1e-6 <= mean.item() <= 4 + 1e-6


@pytest.mark.parametrize("splits", [0, 6])
def test_more_splits_than_pictures_are_refused(splits):
    with pytest.raises(ValueError, match="1 to 5"):
        inception_score(torch.full((5, 2), 0.5), splits)


# --- Precision and recall, density and coverage ---


@given(normal(14, 3), normal(11, 3), st.floats(0.2, 2), neighbours)
def test_density_and_coverage_agree_with_constructing_every_real_ball(real, fake, spread, k):
    fake = spread * fake
    inside, surely = (
        np.array([[oracles.holds(ball, x, slack) for x in fake.numpy()] for ball in oracles.balls(real, k)])
        for slack in (1e-6, -1e-6)
    )
    assume((inside == surely).all())  # rounding decides whether a fake on the edge of a ball is inside
    density, coverage = inside.sum() / (k * len(fake)), inside.any(1).mean()
    found = density_coverage(real, fake, k)
    assert found[0].item() == pytest.approx(density) and found[1].item() == pytest.approx(coverage)


@given(clouds(), clouds(), neighbours)
def test_the_recall_of_fakes_is_the_precision_of_the_real_ones(real, fake, k):
    precision, recall = precision_recall(real, fake, k)
    assert (recall, precision) == precision_recall(fake, real, k)


@given(clouds(), neighbours, seeds)
def test_a_cloud_covers_itself_in_any_order(cloud, k, seed):
    shuffled = cloud[torch.randperm(len(cloud), generator=generator(seed))]
    assert precision_recall(cloud, shuffled, k) == (1, 1)
    assert density_coverage(cloud, shuffled, k)[1] == 1


@given(normal(20, WIDTH), neighbours)
def test_a_cloud_without_duplicates_has_k_plus_one_of_its_points_in_every_ball(cloud, k):
    assert density_coverage(cloud, cloud, k)[0].item() == pytest.approx((k + 1) / k)


@given(clouds(), clouds(), neighbours)
def test_clouds_far_apart_share_nothing(real, fake, k):
    assert precision_recall(real, fake + 1000, k) == (0, 0)
    assert density_coverage(real, fake + 1000, k) == (0, 0)


def test_one_fake_outlier_fools_recall_but_not_coverage():
    real = torch.randn(50, WIDTH, generator=generator(0))
    fake = torch.cat([torch.full((4, WIDTH), 50.0), torch.full((1, WIDTH), -50.0)])
    assert precision_recall(real, fake, 4)[1] == 1  # the outlier's ball contains all real vectors
    assert density_coverage(real, fake, 4)[1] == 0


@given(clouds(), clouds(), neighbours, st.integers(1, 200))
def test_computing_distances_in_blocks_changes_nothing(real, fake, k, block):
    whole = *precision_recall(real, fake, k), *density_coverage(real, fake, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK", block)
        assert (*precision_recall(real, fake, k), *density_coverage(real, fake, k)) == whole


@pytest.mark.parametrize("k", [0, 8, 9])
def test_a_cloud_without_k_neighbours_is_refused(k):
    with pytest.raises(ValueError, match=f"k = {k} neighbours among 8 feature vectors: expected 1 to 7"):
        neighbour_distances(torch.randn(8, WIDTH), k)
