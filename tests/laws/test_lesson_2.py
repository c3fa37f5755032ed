"""Laws of lesson 2: who pays for what, and who learns from it (VQ-GAN section 3.1)."""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import like, small
from tiny import generator, tiny_discriminator

from minimaskgit import adversary

CRITIC = "lesson 2, 'The critic': real scores above 1 and fake ones below -1 cost nothing"
FORGER = "lesson 2, 'The forger': it wants its fakes scored high"
WHOSE_STEP = "lesson 2, 'Whose step is it': in the critic's step the fakes are detached"
BALANCE = "lesson 2, 'Two losses in balance': the ratio of the gradients' norms at the last layer (VQ-GAN equation 7)"
ALIKE = "lesson 2, 'How alike': compare feature maps, layer by layer"

LESSON = {
    "hinge_d_loss": (adversary, CRITIC),
    "hinge_g_loss": (adversary, FORGER),
    "discriminator_loss": (adversary, WHOSE_STEP),
    "adaptive_weight": (adversary, BALANCE),
    "perceptual_loss": (adversary, ALIKE),
}

pairs = small(3, 4).flatmap(lambda a: st.tuples(st.just(a), like(a)))


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=generator(seed))


@pytest.mark.law("hinge_d_loss")
@given(real=small(3, 3), fake=small(2, 4), scale=st.sampled_from([1.0, 3.0]))
def test_the_discriminator_pays_for_real_scores_below_1_and_fake_ones_above_minus_1(impl, real, fake, scale):
    real, fake = scale * real, scale * fake
    expected = (np.maximum(0, 1 - real.numpy()).mean() + np.maximum(0, 1 + fake.numpy()).mean()) / 2
    found = impl.hinge_d_loss(real, fake).item()
    assert found == pytest.approx(expected, 1e-4, abs=1e-6), oracles.instead(found, expected)


@pytest.mark.law("hinge_d_loss")
def test_a_discriminator_that_is_sure_and_right_pays_nothing_and_learns_nothing(impl):
    real, fake = (torch.full((2, 3), value) for value in (1.5, -1.5))
    loss = impl.hinge_d_loss(real, fake).item()
    assert loss == 0, f"returned {loss:.4f}; expected 0"
    for gradient in impl.gradients("hinge_d_loss", real, fake):
        assert gradient is None or not gradient.any(), "a score beyond the margin has a gradient"


@pytest.mark.law("hinge_g_loss")
@given(fake=small(3, 4))
def test_the_generator_s_loss_is_the_negative_mean_score_and_pushes_all_patches_alike(impl, fake):
    loss, expected = impl.hinge_g_loss(fake).item(), -fake.numpy().mean()
    assert loss == pytest.approx(expected, abs=1e-5), oracles.instead(loss, expected)
    (gradient,) = impl.gradients("hinge_g_loss", fake)
    assert gradient is not None, "no gradient reaches the fakes' scores"
    assert gradient.allclose(torch.full(fake.shape, -1 / fake.numel())), f"the gradient is {gradient.tolist()}"


@pytest.mark.law("discriminator_loss")
def test_the_discriminator_s_step_leaves_the_generator_without_gradient(impl):
    gradients = impl.gradients("discriminator_loss", tiny_discriminator(), pictures(1), pictures(0))
    *of_discriminator, _, of_fakes = gradients
    assert of_fakes is None or not of_fakes.any(), "the gradient reaches the fakes, and so the generator"
    learns = [gradient is not None and bool(gradient.any()) for gradient in of_discriminator]
    assert any(learns), "the discriminator itself learns nothing"


@pytest.mark.law("discriminator_loss")
def test_the_discriminator_learns_from_real_and_fake_pictures_alike(impl):
    discriminator, real, fake = tiny_discriminator(), pictures(1), pictures(0)
    *found, _, _ = impl.gradients("discriminator_loss", discriminator, real, fake)
    of_real, of_fake = (
        torch.autograd.grad((1 + sign * discriminator(x)).clamp(min=0).mean() / 2, discriminator.parameters())
        for sign, x in ((-1, real), (1, fake))
    )
    if alike(found, of_real):
        said = "the discriminator learns nothing from its score of the fakes"
    elif alike(found, of_fake):
        said = "the discriminator learns nothing from its score of the real pictures"
    else:
        said = "the discriminator's gradient is not that of the hinge of both scores"
    assert alike(found, [a + b for a, b in zip(of_real, of_fake)]), said


def alike(found: list[torch.Tensor | None], expected: list[torch.Tensor]) -> bool:
    """Whether the gradients of all weights are as expected; None is 0."""
    return all((torch.zeros_like(b) if a is None else a).allclose(b, atol=1e-5) for a, b in zip(found, expected))


@pytest.mark.law("discriminator_loss")
def test_the_discriminator_loss_is_the_hinge_of_real_and_fake_scores(impl):
    discriminator, real, fake = tiny_discriminator(), pictures(0), pictures(1)
    found = impl.discriminator_loss(discriminator, real, fake).item()
    of_real, of_fake = (discriminator(x).detach().numpy() for x in (real, fake))
    expected = (np.maximum(0, 1 - of_real).mean() + np.maximum(0, 1 + of_fake).mean()) / 2
    assert found == pytest.approx(expected, 1e-4), oracles.instead(found, expected)


@pytest.mark.law("adaptive_weight")
@given(pair=pairs, scale=st.sampled_from([0.01, 1.0, 100.0]), smaller=st.sampled_from([1.0, 1e-5]))
def test_the_adaptive_weight_is_the_ratio_of_the_norms_of_the_gradients(impl, pair, scale, smaller):
    rec, gan = smaller * scale * pair[0], smaller * pair[1]  # where both are small, the 1e-6 counts
    expected = min(1e4, np.linalg.norm(rec.numpy()) / (np.linalg.norm(gan.numpy()) + 1e-6))
    found = impl.adaptive_weight(rec, gan).item()
    assert found == pytest.approx(expected, 1e-3), oracles.instead(found, expected)


@pytest.mark.law("adaptive_weight")
def test_the_adaptive_weight_is_bounded_where_a_gradient_vanishes(impl):
    zero, one = torch.zeros(3), torch.ones(3)
    found = impl.adaptive_weight(one, zero).item()
    assert found == 1e4, f"without a gradient of the GAN loss: returned {found}; expected 10,000"
    for gan in (one, zero):
        found = impl.adaptive_weight(zero, gan).item()
        assert found == 0, f"without a gradient of the reconstruction loss: returned {found}; expected 0"


@pytest.mark.law("adaptive_weight")
def test_the_adaptive_weight_itself_has_no_gradient(impl):
    gradients = impl.gradients("adaptive_weight", torch.ones(3), 2 * torch.ones(3))
    assert gradients == [None, None], "a gradient flows through the weight; it should be detached"


@pytest.mark.law("perceptual_loss")
@given(first=pairs, second=pairs)
def test_the_perceptual_loss_is_the_mean_square_of_each_layer_averaged_over_the_layers(impl, first, second):
    (a, b), (c, d) = first, second
    expected = (np.mean((a - b).numpy() ** 2) + np.mean((c - d).numpy() ** 2)) / 2
    found = impl.perceptual_loss([a, c], [b, d]).item()
    assert found == pytest.approx(expected, 1e-4, abs=1e-6), oracles.instead(found, expected)


@pytest.mark.law("perceptual_loss")
@given(pair=pairs)
def test_the_perceptual_loss_is_zero_for_the_same_picture_and_teaches_the_first(impl, pair):
    a, b = pair
    same = impl.perceptual_loss([b], [b]).item()
    assert same == 0, f"a picture with itself: returned {same}; expected 0"
    gradient, _ = impl.gradients("perceptual_loss", [a], [b])
    assert gradient is not None, "no gradient reaches the first picture's features"
    assert gradient.allclose(2 * (a - b) / a.numel(), atol=1e-5), "the gradient is not that of a mean square"
