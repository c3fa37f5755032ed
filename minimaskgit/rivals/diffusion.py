"""A class-conditional diffusion model, a small version of ADM (lesson 8; paper table 1; Dhariwal & Nichol 2021).

    training   x0 ──add_noise(t)──> x_t ──U-Net(x_t, t, class)──> v,  compared with the true v
    sampling   x_1 = noise ──U-Net──> guess of x0 ──ddpm_step / ddim_step──> x_s, s < t ──> ... ──> x_0 = image

    U-Net      patches ─> [blocks] ──────────────skip──────────────> [blocks] ─> patches        16 x 16
                             └─down─> [blocks+attention] ─skip─> [blocks+attention] ─up┘         8 x 8
                                              └─> ... middle ... ─┘                              4 x 4

Symbols: x0 is a clean picture in [-1, 1], e (`noise`) is standard normal, and t in [0, 1] is the time, 0 for a clean
picture and 1 for pure noise. a = alpha_bar(t) is the picture's share of the variance: x_t = sqrt(a) x0 + sqrt(1 - a) e.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from minimaskgit.transformer import attention, merge_heads, split_heads

# --- The process: from picture to noise and back ---


def alpha_bar(t: Tensor) -> Tensor:
    """The cosine noise schedule, any shape: 1 at t = 0 (clean), 0 at t = 1 (only noise) (Improved DDPM, eq. 17)."""
    offset = 0.008  # the noise near t = 0 is then about one step of 8-bit pixel values
    f = lambda t: torch.cos((t + offset) / (1 + offset) * math.pi / 2).square()
    return f(t) / f(torch.zeros_like(t))


def add_noise(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = sqrt(a) x0 + sqrt(1 - a) e: (B, 3, H, W), (B, 3, H, W) and t (B,) to (B, 3, H, W) (DDPM eq. 4)."""
    a = _per_picture(alpha_bar(t))
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def to_v(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """v = sqrt(a) e - sqrt(1 - a) x0, what the network predicts; shapes as add_noise (Salimans & Ho 2022, sec. 4).

    Predicting e is trivial when x_t is all noise, and predicting x0 when it has hardly any. v is close to whichever of
    the two is harder to predict.
    """
    a = _per_picture(alpha_bar(t))
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def from_v(x_t: Tensor, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The picture and the noise that x_t and v imply, the inverse of `to_v`; shapes as add_noise."""
    a = _per_picture(alpha_bar(t))
    return a.sqrt() * x_t - (1 - a).sqrt() * v, (1 - a).sqrt() * x_t + a.sqrt() * v


def ddim_step(x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Step from t to an earlier s with less of the same noise, and no new noise (DDIM eq. 12 with sigma = 0).

    x_t and the predicted picture x0 (B, 3, H, W), times t > s (B,), to x_s (B, 3, H, W).
    """
    a = _per_picture(alpha_bar(t))
    noise = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    return add_noise(x0, noise, s)


def ddpm_step(x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """Step from t to an earlier s with new noise: a sample of q(x_s | x_t, x0); shapes as ddim_step (DDPM eq. 6, 7)."""
    a_t, a_s = _per_picture(alpha_bar(t)), _per_picture(alpha_bar(s))
    step = a_t / a_s  # DDPM's alpha of this single step; 1 - step is its beta
    mean = (a_s.sqrt() * (1 - step) * x0 + step.sqrt() * (1 - a_s) * x_t) / (1 - a_t)
    variance = (1 - step) * (1 - a_s) / (1 - a_t)
    return mean + variance.sqrt() * noise


def _per_picture(a: Tensor) -> Tensor:
    return a[:, None, None, None]  # (B,) to (B, 1, 1, 1)


# --- The network ---


class TimedResidualBlock(nn.Module):
    """Two convolutions with a shortcut; time and class scale and shift the second norm (adaptive group norm).

    x (B, inputs, H, W) and the embedding (B, E) to (B, outputs, H, W) (ADM section 3.1).
    """

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.conv2.weight)  # the block starts as its shortcut
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, outputs, 1, 1) each
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(h))


class SelfAttention(nn.Module):
    """Attention between all positions: (B, D, h, w) to the same, with heads of gcd(D, 32) channels."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = width // math.gcd(width, 32)
        self.norm, self.qkv, self.out = nn.GroupNorm(8, width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).flatten(2).transpose(1, 2)  # (B, h * w, D)
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(rows).chunk(3, dim=-1))
        mixed = self.out(merge_heads(attention(q, k, v, causal=False)))
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class Level(nn.Module):
    """A residual block, followed by attention if `attend`."""

    def __init__(self, inputs: int, outputs: int, embedding: int, attend: bool):
        super().__init__()
        self.block = TimedResidualBlock(inputs, outputs, embedding)
        self.attend = SelfAttention(outputs) if attend else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attend(self.block(x, embedding))


class UNet(nn.Module, PyTorchModelHubMixin):
    """Predicts v from a noisy picture, its time and its class.

    image_size: side in pixels. num_classes: C. width, multipliers: channels of each level are width times its
    multiplier; each further level halves the side. patch: side in pixels of the patches that the stem folds into
    channels, because convolutions at full resolution are expensive. attention_side: levels with this side or less have
    attention.
    """

    def __init__(
        self,
        image_size: int = 32,
        num_classes: int = 10,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        patch: int = 2,
        attention_side: int = 8,
    ):
        super().__init__()
        side, widths = image_size // patch, [width * multiplier for multiplier in multipliers]
        if image_size % (factor := patch * 2 ** (len(widths) - 1)):
            raise ValueError(f"image size {image_size} is not a multiple of {factor}, patch {patch} times 2 per level")
        self.image_size, self.num_classes, self.time_width = image_size, num_classes, 4 * width
        embedding, attends = 4 * width, [side // 2**level <= attention_side for level in range(len(widths))]
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.classes = nn.Embedding(num_classes + 1, embedding)  # the last one means "no class"
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(3 * patch**2, width, 3, padding=1))
        before = [width, *widths[:-1]]  # input channels of each level on the way down
        levels = list(zip(before, widths, attends, strict=True))
        self.down = nn.ModuleList(Level(inputs, outputs, embedding, attend) for inputs, outputs, attend in levels)
        self.middle = Level(widths[-1], widths[-1], embedding, attends[-1])
        self.up = nn.ModuleList(Level(2 * outputs, inputs, embedding, attend) for inputs, outputs, attend in levels)
        self.head = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 3 * patch**2, 3, padding=1), nn.PixelShuffle(patch)
        )

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """x_t (B, 3, H, W), t (B,) in [0, 1] and labels (B,) in 0..C, where C is "no class", to v (B, 3, H, W)."""
        embedding = F.silu(self.time(waves(t, self.time_width)) + self.classes(labels))  # (B, E)
        x, skips = self.stem(x_t), []
        for level, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if level else x, embedding)
            skips.append(x)
        x = self.middle(x, embedding)
        for level, stage in reversed(list(enumerate(self.up))):
            x = stage(torch.cat([x, skips[level]], dim=1), embedding)
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") if level else x
        return self.head(x).float()


def waves(t: Tensor, width: int) -> Tensor:
    """Encode t (B,) in [0, 1] as sines and cosines of many wavelengths (B, width), like positions in transformers."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# --- Learning and sampling ---


def diffusion_loss(model: UNet, images: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of the predicted v: images (B, 3, H, W) in [0, 1] and labels (B,) in 0..C to a scalar."""
    x0, noise = 2 * images - 1, torch.randn_like(images)
    # Evenly spaced times with one random offset: each time is uniform, yet every batch covers all (VDM, appendix I.1).
    spaced = torch.arange(len(images), device=images.device) / len(images)
    t = (spaced + torch.rand(1, device=images.device)) % 1  # (B,)
    v = model(add_noise(x0, noise, t), t, labels)
    return F.mse_loss(v, to_v(x0, noise, t))


@torch.no_grad()
def sample(
    model: UNet,
    labels: Tensor,
    steps: int = 250,
    method: Literal["ddpm", "ddim"] = "ddpm",
    generator: torch.Generator | None = None,
    guidance: float = 0.0,
) -> Tensor:
    """Draw images (B, 3, H, W) in [0, 1] of classes `labels` (B,) in 0..C, with `steps` passes of the network.

    method: ddpm adds new noise in every step and needs hundreds of steps; ddim adds none and needs a few dozen.
    guidance w: the prediction is (1 + w) * conditional - w * unconditional; 0 turns it off, and other values need a
    model trained with class dropout.
    """
    shape = (len(labels), 3, model.image_size, model.image_size)
    x = torch.randn(shape, device=labels.device, generator=generator)
    times = torch.linspace(1, 0, steps + 1, device=labels.device)[:, None].expand(-1, len(labels))  # (steps + 1, B)
    for t, s in pairwise(times):
        x0, _ = from_v(x, guided_v(model, x, t, labels, guidance), t)
        x0 = x0.clamp(-1, 1)  # the range of pictures
        if method == "ddim":
            x = ddim_step(x, x0, t, s)
        else:
            x = ddpm_step(x, x0, t, s, torch.randn(shape, device=x.device, generator=generator))
    return ((x + 1) / 2).clamp(0, 1)


def guided_v(model: UNet, x_t: Tensor, t: Tensor, labels: Tensor, guidance: float) -> Tensor:
    """Predict v (B, 3, H, W), with classifier-free guidance unless `guidance` is 0."""
    if guidance == 0:
        return model(x_t, t, labels)
    nothing = torch.full_like(labels, model.num_classes)
    both = model(x_t.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([labels, nothing]))  # one pass of twice the batch
    conditional, unconditional = both.chunk(2)
    return (1 + guidance) * conditional - guidance * unconditional
