"""The discriminator and the perceptual loss on a tokenizer: which gradients reach what (lesson 2; VQ-GAN section 3.1).

Laws of the functions that students write are in laws/test_lesson_2.py.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator, tiny_discriminator, tiny_tokenizer

from minimaskgit.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    hinge_g_loss,
    perceptual_loss,
    vqgan_losses,
)
from minimaskgit.classifier import Classifier
from minimaskgit.tokenizer import Quantized


def pictures(count: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed))


# --- The adaptive weight ---


def test_the_adaptive_weight_makes_both_gradients_equal_at_the_last_layer():
    tokenizer, images = tiny_tokenizer(image_size=16), pictures()
    reconstruction = tokenizer(images)[0]
    last = tokenizer.decoder.last_layer
    losses = (reconstruction - images).abs().mean(), hinge_g_loss(tiny_discriminator()(reconstruction))
    rec_grad, gan_grad = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in losses)
    balanced = adaptive_weight(rec_grad, gan_grad) * gan_grad
    assert balanced.norm().item() == pytest.approx(rec_grad.norm().item(), 1e-3)


# --- The discriminator ---


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_discriminator_returns_one_score_per_patch(layers):
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


def test_the_generator_s_step_reaches_the_whole_tokenizer_but_not_the_frozen_discriminator():
    discriminator, tokenizer = tiny_discriminator().requires_grad_(False), tiny_tokenizer(image_size=16)
    hinge_g_loss(discriminator(tokenizer(pictures())[0])).backward()
    for part in (tokenizer.encoder, tokenizer.decoder):
        assert all(parameter.grad is not None for parameter in part.parameters())
        assert any(parameter.grad.any() for parameter in part.parameters())
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_a_discriminator_learns_to_distinguish_noise_from_flat_pictures():
    discriminator = tiny_discriminator()
    real, fake = pictures(8), torch.rand(8, 3, 1, 1, generator=generator(1)).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        discriminator_loss(discriminator, real, fake).backward()
        optimizer.step()
    assert discriminator(real).min() > discriminator(fake).max()


# --- The perceptual loss ---


def test_the_perceptual_loss_is_symmetric_and_zero_only_for_the_same_picture():
    torch.manual_seed(0)
    network, a, b = Classifier(3, width=8), pictures(seed=0), pictures(seed=1)
    assert perceptual_loss(network.features(a), network.features(a)) == 0
    ab, ba = (perceptual_loss(network.features(x), network.features(y)) for x, y in ((a, b), (b, a)))
    assert ab > 0 and ab.allclose(ba)


def test_the_perceptual_loss_has_gradients_for_the_picture_but_not_for_the_frozen_network():
    torch.manual_seed(0)
    network, image = Classifier(3, width=8).requires_grad_(False), pictures().requires_grad_()
    perceptual_loss(network.features(image), network.features(pictures(seed=1))).backward()
    assert image.grad.any() and all(parameter.grad is None for parameter in network.parameters())


def test_feature_lists_of_different_length_are_refused():
    with pytest.raises(ValueError):
        perceptual_loss([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])


# --- The whole objective ---


def quantized(codebook: float = 0.5, commitment: float = 0.25) -> Quantized:
    return Quantized(None, None, torch.tensor(codebook), torch.tensor(commitment))


def squares(images: torch.Tensor) -> list[torch.Tensor]:
    """Stands in for the perceptual network's features."""
    return [images, images**2]


@given(weights=st.tuples(*[st.floats(0, 3)] * 4), seed=seeds)
def test_the_tokenizer_s_loss_is_the_weighted_sum_of_its_terms(weights, seed):
    l1_weight, l2_weight, perceptual_weight, gan_weight = weights
    images, painted = torch.rand(2, 2, 3, 8, 8, generator=generator(seed))
    painted.requires_grad_()
    last_layer = lambda loss: torch.autograd.grad(loss, painted, retain_graph=True)[0]
    discriminator = lambda x: 3 * x.mean((1, 2, 3))
    found = vqgan_losses(
        images, painted, quantized(), l1_weight, l2_weight, squares, perceptual_weight, discriminator, gan_weight,
        last_layer,
    )  # fmt: skip
    l1, l2 = (painted - images).abs().mean(), (painted - images).square().mean()
    alike = ((painted - images).square().mean() + (painted**2 - images**2).square().mean()) / 2
    paints = l1_weight * l1 + l2_weight * l2 + perceptual_weight * alike
    forged = -3 * painted.mean()
    balance = last_layer(paints).norm() / (last_layer(forged).norm() + 1e-6)
    expected = paints + 0.75 + gan_weight * balance.clamp(max=1e4) * forged
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    assert set(found) == {"loss", "l1", "commitment", "perceptual", "adversarial", "adaptive"}


def test_without_critics_the_tokenizer_s_loss_is_that_of_a_vq_vae():
    images, painted = torch.rand(2, 2, 3, 8, 8, generator=generator(0))
    found = vqgan_losses(images, painted, quantized())
    assert set(found) == {"loss", "l1", "commitment"}
    assert found["loss"].item() == pytest.approx((painted - images).abs().mean().item() + 0.75)
