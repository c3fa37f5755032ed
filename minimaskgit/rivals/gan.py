"""A class-conditional GAN, a small version of BigGAN (lesson 8; paper table 1; Brock et al. 2019).

    z, class ──Generator──> fake ──┐
                                   ├──Discriminator──> score = features . (w + embedding of the class)
    a picture of the class ─> real ┘

    Generator       linear ─> 4x4 ─[up block]─> 8x8 ─[up block]─> 16x16 ─upsample─> 32x32 pixels
    Discriminator   patches ─> 16x16 ─[down block]─> 8x8 ─[down block]─> 4x4 ─[block]─> sum

It has what BigGAN combined: class and z modulate the norms of the generator's blocks (`ConditionalNorm`), the
discriminator compares picture and class by a dot product (projection), hinge losses, spectral normalisation, a moving
average of the generator's weights for sampling, and truncated z, which trades variety for quality. We add a penalty on
the discriminator's gradient, which such a short training needs: without it the generator draws the same picture of a
class for every z.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from minimaskgit.adversary import hinge_d_loss, hinge_g_loss

# --- The generator ---


class ConditionalNorm(nn.Module):
    """BatchNorm whose scale and shift are linear in the condition: (B, D, H, W) and (B, E) to (B, D, H, W)."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.modulation = nn.Linear(condition, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)  # (B, D, 1, 1) each
        return self.norm(x) * (1 + scale) + shift


class UpBlock(nn.Module):
    """Two convolutions with a shortcut, which double the side: (B, inputs, h, w) to (B, outputs, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(inputs, condition), ConditionalNorm(outputs, condition)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(_double(F.relu(self.norm1(x, condition))))
        h = self.conv2(F.relu(self.norm2(h, condition)))
        return h + _double(self.shortcut(x))  # a 1x1 convolution commutes with doubling, and is cheaper before it


class Generator(nn.Module, PyTorchModelHubMixin):
    """Draws a picture from a noise vector and a class.

    image_size: side in pixels. num_classes: C. latent: length of z. width, multipliers: channels of each level are
    width times its multiplier, largest level first as in the U-Net; each further level halves the side. patch: side in
    pixels of a position of the largest level, because wide convolutions at full resolution are expensive.
    """

    def __init__(
        self,
        image_size: int = 32,
        num_classes: int = 10,
        latent: int = 64,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        patch: int = 2,
    ):
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers][::-1]  # smallest level first
        self.latent, self.num_classes, condition = latent, num_classes, 2 * latent
        self.side = smallest_side(image_size, patch, len(widths))
        self.classes = nn.Embedding(num_classes, latent)
        self.start = nn.Linear(condition, widths[0] * self.side**2)
        self.blocks = nn.ModuleList(UpBlock(a, b, condition) for a, b in pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        # Upsample, then convolve: unfolding channels into patches would show a checkerboard pattern.
        self.head = nn.Sequential(
            nn.Upsample(scale_factor=patch),
            nn.Conv2d(widths[-1], width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, 3, 3, padding=1),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """z (B, latent) and labels (B,) in 0..C-1 to images (B, 3, H, W) in [0, 1]."""
        condition = torch.cat([z, self.classes(labels)], dim=1)  # (B, 2 * latent)
        x = self.start(condition).unflatten(1, (-1, self.side, self.side))
        for block in self.blocks:
            x = block(x, condition)
        return torch.sigmoid(self.head(F.relu(self.norm(x)))).float()


def smallest_side(image_size: int, patch: int, levels: int) -> int:
    """Side in positions of the smallest of `levels` levels; ValueError if the side cannot be halved so often."""
    factor = patch * 2 ** (levels - 1)
    if image_size % factor:
        raise ValueError(f"image size {image_size} is not a multiple of {factor}: patches of {patch}, {levels} levels")
    return image_size // factor


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


# --- The discriminator ---


class DownBlock(nn.Module):
    """Two spectrally normalised convolutions with a shortcut; halves the side if `halve`.

    (B, inputs, h, w) to (B, outputs, h, w) or (B, outputs, h / 2, w / 2). There is no norm layer and no class.
    """

    def __init__(self, inputs: int, outputs: int, halve: bool):
        super().__init__()
        self.halve = halve
        self.conv1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = nn.Identity() if inputs == outputs else spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(F.relu(x))))
        if self.halve:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return h + self.shortcut(x)


class Discriminator(nn.Module):
    """Scores how real a picture is *as a picture of its class*.

    Settings as for the Generator; multipliers are those of each block's output. Spectral normalisation divides each
    weight by its largest singular value. That limits how fast the score can change with the picture, so the generator
    always gets a usable gradient (Miyato et al. 2018).
    """

    def __init__(
        self,
        image_size: int = 32,
        num_classes: int = 10,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        patch: int = 2,
    ):
        super().__init__()
        smallest_side(image_size, patch, len(multipliers))
        widths = [width // 2, *(width * multiplier for multiplier in multipliers)]
        halves = [level < len(multipliers) - 1 for level in range(len(multipliers))]
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(patch), spectral_norm(nn.Conv2d(3 * patch**2, widths[0], 3, padding=1))
        )
        self.blocks = nn.Sequential(
            *(DownBlock(a, b, halve) for a, b, halve in zip(widths, widths[1:], halves, strict=False))
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))
        self.classes = spectral_norm(nn.Embedding(num_classes, widths[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] and labels (B,) to scores (B,) (projection: Miyato & Koyama 2018, eq. 3)."""
        features = F.relu(self.blocks(self.stem(2 * images - 1))).sum((2, 3)).float()  # (B, D)
        return self.score(features)[:, 0] + (features * self.classes(labels)).sum(1)


def gan_d_loss(discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
    """`hinge_d_loss` of real and detached fake pictures (B, 3, H, W) of the same classes (B,), a scalar."""
    scores = discriminator(torch.cat([real, fake.detach()]), labels.repeat(2))  # one pass of twice the batch
    return hinge_d_loss(*scores.chunk(2))


def gan_g_loss(discriminator: Discriminator, fake: Tensor, labels: Tensor) -> Tensor:
    """`hinge_g_loss` of fake pictures (B, 3, H, W) of classes (B,), a scalar."""
    return hinge_g_loss(discriminator(fake, labels))


def gradient_penalty(discriminator: Discriminator, real: Tensor, labels: Tensor) -> Tensor:
    """R1: mean squared norm of the score's gradient at real pictures (B, 3, H, W) of classes (B,), a scalar.

    If the score is flat around every real picture, it does not push away a fake that has arrived there, and the
    generator has no reason to move all its pictures to the one that scores highest (Mescheder et al. 2018, eq. 9).
    """
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real, labels).sum(), real, create_graph=True)  # (B, 3, H, W)
    return gradient.square().sum((1, 2, 3)).mean()


def truncated_normal(z: Tensor, truncation: float, generator: torch.Generator | None = None) -> Tensor:
    """Fill z, any shape, with normal numbers, each redrawn until it is within +-truncation (BigGAN section 3.1)."""
    return nn.init.trunc_normal_(z, a=-truncation, b=truncation, generator=generator)


@torch.no_grad()
def sample(
    model: Generator,
    labels: Tensor,
    generator: torch.Generator | None = None,
    truncation: float | None = None,
) -> Tensor:
    """Draw images (B, 3, H, W) in [0, 1] of classes `labels` (B,) in 0..C-1, with one pass of the network.

    The model must be in eval mode. truncation: the largest |z|; below 1 only the most typical pictures are drawn, with
    None (no bound) all kinds.
    """
    z = torch.randn(len(labels), model.latent, device=labels.device, generator=generator)
    return model(z if truncation is None else truncated_normal(z, truncation, generator), labels)
