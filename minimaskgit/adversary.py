"""What makes a VQ-VAE a VQ-GAN: a perceptual loss and a discriminator (lesson 2; VQ-GAN section 3.1).

    reconstruction ──perceptual network──> features <──compare──> features of the original
    reconstruction ──PatchDiscriminator──> one score per patch: real or fake?

`vqgan_losses` is the whole objective of the tokenizer. It adds `hinge_g_loss`, which rewards fooling the discriminator,
scaled by `adaptive_weight` so that neither loss drowns the other. The discriminator learns from `discriminator_loss`,
on *detached* fakes.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaskgit.tokenizer import Quantized


def perceptual_loss(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of two pictures' feature maps, averaged over the layers; a scalar."""
    return torch.stack([F.mse_loss(a, b) for a, b in zip(features_a, features_b, strict=True)]).mean()


def hinge_d_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: pushes real scores above 1 and fake ones below -1; any shapes to a scalar."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def hinge_g_loss(fake: Tensor) -> Tensor:
    """The generator's loss: pushes the scores of its fakes up; any shape to a scalar."""
    return -fake.mean()


def adaptive_weight(rec_grad: Tensor, gan_grad: Tensor) -> Tensor:
    """|gradient of the reconstruction loss| / (|gradient of the GAN loss| + 1e-6), both at the decoder's last layer.

    Detached and at most 10,000 (VQ-GAN equation 7 and its code).
    """
    return (rec_grad.norm() / (gan_grad.norm() + 1e-6)).clamp(0, 1e4).detach()


class PatchDiscriminator(nn.Module):
    """PatchGAN: strided convolutions to one score per patch, images (B, 3, H, W) in [0, 1] to scores (B, 1, h, w).

    GroupNorm in place of BatchNorm: real and fake batches share no statistics, and several processes need not agree.
    """

    def __init__(self, width: int = 64, layers: int = 3):
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1  # the last layer widens the view without shrinking the map
            body += [
                nn.Conv2d(channels, wider, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(math.gcd(8, wider), wider),
                nn.LeakyReLU(0.2),
            ]
            channels = wider
        self.body = nn.Sequential(*body, nn.Conv2d(channels, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(2 * images - 1)


def discriminator_loss(discriminator: PatchDiscriminator, real: Tensor, fake: Tensor) -> Tensor:
    """`hinge_d_loss` of two batches of images; the fakes are detached, so no gradient reaches the generator."""
    return hinge_d_loss(discriminator(real), discriminator(fake.detach()))


def vqgan_losses(
    images: Tensor,
    reconstruction: Tensor,
    quantized: Quantized,
    l1_weight: float = 1.0,
    l2_weight: float = 0.0,
    features: Callable[[Tensor], Sequence[Tensor]] | None = None,
    perceptual_weight: float = 0.0,
    discriminator: Callable[[Tensor], Tensor] | None = None,
    gan_weight: float = 0.0,
    last_layer_gradient: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The tokenizer's objective, as "loss", and the terms to report; all scalars (VQ-GAN equations 4 to 7).

    images (B, 3, H, W) in [0, 1]; reconstruction (B, 3, H, W), not clipped. features: of the perceptual network; None
    leaves the perceptual loss out. discriminator: None leaves the adversarial loss out. last_layer_gradient: maps a
    loss to its gradient at the decoder's last layer, which the adaptive weight needs.
    """
    l1, l2 = F.l1_loss(reconstruction, images), F.mse_loss(reconstruction, images)
    terms = {"l1": l1, "commitment": quantized.commitment_loss}
    reconstruction_loss = l1_weight * l1 + l2_weight * l2
    if features:
        terms["perceptual"] = perceptual_loss(features(reconstruction), features(images))
        reconstruction_loss = reconstruction_loss + perceptual_weight * terms["perceptual"]
    loss = reconstruction_loss + quantized.codebook_loss + quantized.commitment_loss + quantized.entropy_loss
    if discriminator:
        terms["adversarial"] = hinge_g_loss(discriminator(reconstruction))
        gradients = (last_layer_gradient(term) for term in (reconstruction_loss, terms["adversarial"]))
        terms["adaptive"] = adaptive_weight(*gradients)
        loss = loss + gan_weight * terms["adaptive"] * terms["adversarial"]
    return {"loss": loss, **terms}
