"""Lesson 2, exercises: the critics of a VQ-GAN (notebook 2_vqgan).

Replace each `raise NotImplementedError`, then `make check-2`. Never write into an argument; work on a copy.
"""

from collections.abc import Sequence

import torch  # noqa: F401
import torch.nn.functional as F  # noqa: F401
from torch import Tensor, nn


def hinge_d_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: half of the mean of max(0, 1 - real) plus half of the mean of max(0, 1 + fake).

    real, fake: scores of any shapes; a scalar.

    >>> hinge_d_loss(torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 0.0])).item()  # (0.25 + 0.5) / 2
    0.375
    """
    raise NotImplementedError


def hinge_g_loss(fake: Tensor) -> Tensor:
    """The generator's loss, which falls as the scores of its fakes rise: scores of any shape to a scalar.

    >>> hinge_g_loss(torch.tensor([1.0, 2.0])).item()
    -1.5
    """
    raise NotImplementedError


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """`hinge_d_loss` of two batches of images (B, 3, H, W); no gradient may reach the generator that made `fake`.

    >>> fake = torch.zeros(1, 3, 2, 2, requires_grad=True)
    >>> discriminator = nn.Conv2d(3, 1, 2)
    >>> discriminator_loss(discriminator, torch.ones(1, 3, 2, 2), fake).backward()
    >>> fake.grad is None, discriminator.weight.grad is None
    (True, False)
    """
    raise NotImplementedError


def adaptive_weight(rec_grad: Tensor, gan_grad: Tensor) -> Tensor:
    """|rec_grad| / (|gan_grad| + 1e-6), Euclidean norms, at most 10,000, detached: a scalar.

    rec_grad, gan_grad: gradients of the two losses at the decoder's last layer, of one shape.

    >>> round(adaptive_weight(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])).item(), 3)
    2.5
    """
    raise NotImplementedError


def perceptual_loss(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of each layer's feature maps, averaged over the layers; a scalar.

    >>> perceptual_loss([torch.zeros(2), torch.zeros(4)], [torch.ones(2), 2 * torch.ones(4)]).item()  # (1 + 4) / 2
    2.5
    """
    raise NotImplementedError
