"""A small convolutional classifier, trained on the run's own data (lessons 2 and 8).

    image (B,3,H,W) ──conv──> feature maps at 1/1, 1/2, 1/4, 1/8 of the side ──mean──> logits (B, C)

It has two uses. As the tokenizer's *perceptual network*, its feature maps measure how similar two images look (instead
of the usual VGG, which would have to be downloaded and only knows photographs). As the *judge* of generated images, it
predicts their class; a judge is always trained separately, on real images, with another seed.
"""

import math

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from minimaskgit.common.precision import double


class Classifier(nn.Module, PyTorchModelHubMixin):
    """Four convolutional stages and a linear layer, for images in [0, 1] of at least 16 x 16 pixels."""

    def __init__(self, num_classes: int = 10, width: int = 32):
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=1 if stage == 0 else 2, padding=1, bias=False),
                nn.GroupNorm(math.gcd(8, outputs), outputs),
                nn.SiLU(),
            )
            for stage, (inputs, outputs) in enumerate(zip((3, *widths), widths, strict=False))
        )
        self.final = nn.Linear(widths[-1], num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the four stages s, (B, width_s, H / 2^s, W / 2^s)."""
        x, maps = 2 * images - 1, []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def pooled(self, images: Tensor) -> Tensor:
        """The last feature map, averaged over the picture: (B, width_3)."""
        return self.features(images)[-1].mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.final(self.pooled(images))


@torch.no_grad()
def class_accuracy(classifier: Classifier, images: Tensor, labels: Tensor, batch_size: int = 250) -> float:
    """Accuracy of a classifier in eval mode on float images (B, 3, H, W) in [0, 1] with labels (B,)."""
    predicted = [classifier(part).argmax(-1) for part in images.split(batch_size)]
    return double(torch.cat(predicted) == labels).mean().item()


def classification_loss(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy on float images (B, 3, H, W) with labels (B,): a scalar in nats."""
    return F.cross_entropy(classifier(images).float(), labels)
