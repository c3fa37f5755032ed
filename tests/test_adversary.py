"""Laws of the perceptual and the adversarial loss: who learns from what (lesson 2; VQ-GAN section 3.1)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal
from tiny import generator, tiny_tokenizer

from minimaskgit.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    hinge_d_loss,
    hinge_g_loss,
    perceptual_loss,
)
from minimaskgit.classifier import Classifier

SCORES = (2, 1, 3, 3)


def pictures(count: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed))


def tiny_discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(width=4, layers=2)


# --- Hinge losses ---


@given(real=normal(*SCORES), fake=normal(*SCORES), scale=st.floats(0.1, 5))
def test_the_discriminator_pays_for_real_scores_below_1_and_fake_ones_above_minus_1(real, fake, scale):
    real, fake = scale * real, scale * fake
    expected = (np.maximum(0, 1 - real.numpy()).mean() + np.maximum(0, 1 + fake.numpy()).mean()) / 2
    assert hinge_d_loss(real, fake).item() == pytest.approx(expected, 1e-5)


def test_a_discriminator_that_is_sure_and_right_pays_nothing_and_learns_nothing():
    real, fake = (torch.full(SCORES, value, requires_grad=True) for value in (1.5, -1.5))
    loss = hinge_d_loss(real, fake)
    loss.backward()
    assert loss == 0 and not real.grad.any() and not fake.grad.any()


@given(fake=normal(*SCORES))
def test_the_generator_s_loss_is_the_negative_mean_score_and_pushes_all_patches_alike(fake):
    fake.requires_grad_()
    loss = hinge_g_loss(fake)
    loss.backward()
    assert loss.item() == pytest.approx(-fake.detach().numpy().mean(), abs=1e-6)
    assert fake.grad.allclose(torch.full(SCORES, -1 / fake.numel()))


# --- The adaptive weight ---


@given(rec=normal(3, 4), gan=normal(3, 4), scale=st.floats(0.01, 100))
def test_the_adaptive_weight_is_the_ratio_of_the_gradients_norms(rec, gan, scale):
    expected = np.linalg.norm(scale * rec.numpy()) / (np.linalg.norm(gan.numpy()) + 1e-6)
    assert adaptive_weight(scale * rec, gan).item() == pytest.approx(min(expected, 1e4), 1e-4)


def test_the_adaptive_weight_is_bounded_where_a_gradient_vanishes():
    zero, one = torch.zeros(3), torch.ones(3)
    assert adaptive_weight(one, zero) == 1e4
    assert adaptive_weight(zero, one) == 0 and adaptive_weight(zero, zero) == 0


def test_the_adaptive_weight_itself_has_no_gradient():
    assert not adaptive_weight(torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)).requires_grad


def test_weighted_adaptively_both_losses_pull_equally_at_the_last_layer():
    tokenizer, images = tiny_tokenizer(image_size=16), pictures()
    reconstruction = tokenizer(images)[0]
    last = tokenizer.decoder.last_layer
    losses = (reconstruction - images).abs().mean(), hinge_g_loss(tiny_discriminator()(reconstruction))
    rec_grad, gan_grad = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in losses)
    balanced = adaptive_weight(rec_grad, gan_grad) * gan_grad
    assert balanced.norm().item() == pytest.approx(rec_grad.norm().item(), 1e-3)


# --- The discriminator ---


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_discriminator_gives_one_score_a_patch(layers):
    scores = PatchDiscriminator(width=4, layers=layers)(pictures(2, 32))
    side = 32 // 2**layers - 2  # two convolutions of stride 1 lose a row each
    assert scores.shape == (2, 1, side, side)


def test_a_picture_s_scores_do_not_depend_on_its_batch():
    discriminator, images = tiny_discriminator(), pictures(4)
    alone = torch.cat([discriminator(image[None]) for image in images])
    assert discriminator(images).allclose(alone, atol=1e-5)


def test_the_discriminator_s_step_leaves_the_generator_without_gradient():
    discriminator, tokenizer, images = tiny_discriminator(), tiny_tokenizer(image_size=16), pictures()
    reconstruction = tokenizer(images)[0]
    reconstruction.retain_grad()
    discriminator_loss(discriminator, images, reconstruction).backward()
    assert reconstruction.grad is None
    assert all(parameter.grad is None for parameter in tokenizer.parameters())
    assert all(parameter.grad.any() for parameter in discriminator.parameters() if parameter.ndim > 1)


def test_the_discriminator_loss_is_the_hinge_of_real_and_fake_scores():
    discriminator, real, fake = tiny_discriminator(), pictures(seed=0), pictures(seed=1)
    expected = hinge_d_loss(discriminator(real), discriminator(fake))
    assert discriminator_loss(discriminator, real, fake).allclose(expected)
    assert not discriminator_loss(discriminator, fake, real).allclose(expected)


def test_the_generator_s_step_reaches_all_of_the_tokenizer_and_not_a_frozen_discriminator():
    discriminator, tokenizer = tiny_discriminator().requires_grad_(False), tiny_tokenizer(image_size=16)
    hinge_g_loss(discriminator(tokenizer(pictures())[0])).backward()
    for part in (tokenizer.encoder, tokenizer.decoder):
        assert all(parameter.grad is not None for parameter in part.parameters())
        assert any(parameter.grad.any() for parameter in part.parameters())
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_a_discriminator_learns_to_tell_noise_from_flat_pictures():
    discriminator = tiny_discriminator()
    real, fake = pictures(8), torch.rand(8, 3, 1, 1, generator=generator(1)).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        discriminator_loss(discriminator, real, fake).backward()
        optimizer.step()
    assert discriminator(real).min() > discriminator(fake).max()


# --- The perceptual loss ---


@given(a=normal(2, 3, 4), b=normal(2, 3, 4), c=normal(2, 5), d=normal(2, 5))
def test_the_perceptual_loss_is_the_mean_square_of_each_layer_averaged_over_the_layers(a, b, c, d):
    expected = (np.mean((a - b).numpy() ** 2) + np.mean((c - d).numpy() ** 2)) / 2
    assert perceptual_loss([a, c], [b, d]).item() == pytest.approx(expected, 1e-5)


def test_the_perceptual_loss_is_symmetric_and_zero_for_the_same_picture_only():
    torch.manual_seed(0)
    network, a, b = Classifier(3, width=8), pictures(seed=0), pictures(seed=1)
    assert perceptual_loss(network.features(a), network.features(a)) == 0
    ab, ba = (perceptual_loss(network.features(x), network.features(y)) for x, y in ((a, b), (b, a)))
    assert ab > 0 and ab.allclose(ba)


def test_the_perceptual_loss_teaches_the_picture_and_not_the_frozen_network():
    torch.manual_seed(0)
    network, image = Classifier(3, width=8).requires_grad_(False), pictures().requires_grad_()
    perceptual_loss(network.features(image), network.features(pictures(seed=1))).backward()
    assert image.grad.any() and all(parameter.grad is None for parameter in network.parameters())


def test_feature_lists_of_different_length_are_refused():
    with pytest.raises(ValueError):
        perceptual_loss([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])
