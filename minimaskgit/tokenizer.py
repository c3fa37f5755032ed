"""The tokenizer, a VQ-GAN: images to a grid of codebook indices and back (lessons 1 and 2; paper section 3, stage 1).

    image (B,3,H,W) ──Encoder──> z (B,D,h,w) ──nearest codebook entry──> codes (B,h,w) ──> z_q ──Decoder──> image

It uses convolutions, GroupNorm and swish but no attention, like the authors' tokenizer. Each side shrinks by
f = patch * 2^(levels - 1). Images are floats in [0, 1]. The adversarial part of a VQ-GAN is in adversary.py.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

AT_ONCE = 2**18  # pixels encoded or decoded at once: at the paper's width, an activation then takes 128 MiB


def relative_distances(z: Tensor, codebook: Tensor) -> Tensor:
    """Squared distance to each codebook entry, less |z|^2, the same for all: (..., D) and (K, D) to (..., K)."""
    return codebook.square().sum(-1) - 2 * (z @ codebook.T)  # |z - e|^2 = |z|^2 - 2 z.e + |e|^2


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the codebook entry nearest to each vector: (..., D) and (K, D) to int64 (...)."""
    return relative_distances(z, codebook).argmin(-1)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q (..., D), whose gradient passes to z unchanged, because choosing an entry has none."""
    return z + (z_q - z).detach()


def rotated(z: Tensor, z_q: Tensor) -> Tensor:
    """As `straight_through`, but the gradient turns and scales with z: the rotation trick (arXiv 2410.06424).

    z_q = |z_q| / |z| R z, where R turns z's direction into z_q's; R and the lengths get no gradient. (..., D)
    """
    a, b = F.normalize(z, dim=-1).detach(), F.normalize(z_q, dim=-1).detach()
    middle = F.normalize(a + b, dim=-1)
    dot = lambda x, y: (x * y).sum(-1, keepdim=True)
    turned = z - 2 * dot(z, middle) * middle + 2 * dot(z, a) * b
    return turned * (z_q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True).clamp(min=1e-6)).detach()


def vq_losses(z: Tensor, z_q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Codebook loss |sg(z) - e|^2 and commitment loss beta * |z - sg(e)|^2, means over elements (VQ-VAE equation 3).

    The first moves the entries towards the encoder's outputs; the second, scaled by beta (0.25), moves the encoder's
    outputs towards their entries.
    """
    return F.mse_loss(z_q, z.detach()), beta * F.mse_loss(z, z_q.detach())


def entropy_loss(distances: Tensor, temperature: float = 0.01) -> Tensor:
    """Mean entropy of the soft choices softmax(-distances / temperature), less the entropy of their mean; in nats.

    distances (..., K), squared. It is lowest, -log K, if each vector is sure of its entry and all entries are used
    equally. Not in the paper; the released code has it, with this temperature and the weight 0.1.
    """
    log_p = F.log_softmax(-distances.flatten(0, -2) / temperature, dim=-1)  # (M, K)
    p = log_p.exp()
    mean = p.mean(0)  # (K,)
    return (mean * mean.clamp(min=1e-12).log()).sum() - (p * log_p).sum(-1).mean()


def code_perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """exp(entropy) of the codes' frequencies, the effective number of codes in use: a scalar in 1..K."""
    p = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    return torch.exp(-torch.special.xlogy(p, p).sum())


def code_use(codes: Tensor, num_codes: int) -> dict[str, Tensor]:
    """Fraction of the codebook used by `codes`, and their perplexity."""
    used = torch.bincount(codes.flatten(), minlength=num_codes) > 0
    return {"usage": used.float().mean(), "perplexity": code_perplexity(codes, num_codes)}


class Quantized(NamedTuple):
    z_q: Tensor  # (B, D, h, w), with the values of the entries and the gradient of the encoder's outputs
    codes: Tensor  # (B, h, w) in 0..K-1
    codebook_loss: Tensor  # scalar; zero if EMA moves the entries
    commitment_loss: Tensor  # scalar, multiplied by beta
    entropy_loss: Tensor | float = 0.0  # scalar, multiplied by its weight


class VectorQuantizer(nn.Module):
    """A codebook of K entries of width D, learned by gradient or by EMA; dead entries are revived.

    l2_norm: look up on the unit sphere (cosine similarity), which uses far more of the codebook (ViT-VQGAN).
    ema: instead of the codebook loss, move each entry to the running mean of its vectors (VQ-VAE appendix A.1).
    revive_after: entries unused for this many training batches restart at random encoder outputs; 0: never. `linear`
    turns this off, because its map moves all entries. With gradient accumulation each micro-batch counts as a batch,
    here and for ema_decay.
    rotate: the encoder's gradient by the rotation trick. linear: the entries are a learned linear map of frozen random
    vectors, so that all of them move together (SimVQ, arXiv 2411.02038). entropy: the weight of the entropy loss.
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        beta: float = 0.25,
        l2_norm: bool = True,
        ema: bool = False,
        ema_decay: float = 0.99,
        revive_after: int = 100,
        rotate: bool = False,
        linear: bool = False,
        entropy: float = 0.0,
    ):
        super().__init__()
        self.beta, self.l2_norm, self.ema, self.ema_decay = beta, l2_norm, ema, ema_decay
        self.revive_after, self.rotate, self.entropy = revive_after, rotate, entropy
        self.gather: Callable[[Tensor], Tensor] = lambda x: x  # when training on several GPUs, collects from all
        codebook = torch.randn(num_codes, code_dim)
        self.codebook = nn.Parameter(F.normalize(codebook, dim=-1), requires_grad=not (ema or linear))
        self.map = nn.Linear(code_dim, code_dim, bias=False) if linear else None
        self.register_buffer("idle", torch.zeros(num_codes, dtype=torch.long))  # batches since each entry's last use
        if ema:
            self.register_buffer("ema_count", torch.ones(num_codes))
            self.register_buffer("ema_sum", self.codebook.detach().clone())

    def entries(self) -> Tensor:
        """The codebook used for look-up and decoding: (K, D), of unit length if l2_norm."""
        codebook = self.codebook.clone()  # revival changes the original in place before the backward pass needs it
        if self.map is not None:
            with torch.autocast(codebook.device.type, enabled=False):  # what is decoded must be what was looked up
                codebook = self.map(codebook)
        return F.normalize(codebook, dim=-1) if self.l2_norm else codebook

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, h, w); in training mode also updates EMA statistics and revives dead entries."""
        z = z.movedim(1, -1).float()  # (B, h, w, D)
        if self.l2_norm:
            z = F.normalize(z, dim=-1)
        entries = self.entries()  # (K, D)
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 is too coarse to find the nearest
            codes = nearest_codes(z.detach(), entries.detach())
            entropy = self.entropy * entropy_loss(relative_distances(z, entries)) if self.entropy else 0.0
        z_q = F.embedding(codes, entries)
        codebook_loss, commitment_loss = vq_losses(z, z_q, self.beta)
        if self.ema:
            codebook_loss = torch.zeros_like(codebook_loss)
        if self.training:
            self._learn_from(self.gather(z.detach().flatten(0, -2)), self.gather(codes.flatten()))
        out = rotated(z, z_q) if self.rotate else straight_through(z, z_q)
        return Quantized(out.movedim(-1, 1), codes, codebook_loss, commitment_loss, entropy)

    @torch.no_grad()
    def _learn_from(self, z: Tensor, codes: Tensor) -> None:
        """Update EMA statistics and revive dead entries, from vectors (M, D) and their codes (M,)."""
        counts = torch.bincount(codes, minlength=len(self.codebook))
        if self.ema:
            self.ema_count.lerp_(counts.float(), 1 - self.ema_decay)
            self.ema_sum.lerp_(torch.zeros_like(self.ema_sum).index_add_(0, codes, z), 1 - self.ema_decay)
            in_use = self.ema_count[:, None] > 1e-5  # an entry that has not been used for long stays where it is
            self.codebook.copy_(torch.where(in_use, self.ema_sum / self.ema_count[:, None], self.codebook))
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        if self.revive_after and self.map is None:
            dead = (self.idle >= self.revive_after)[:, None]  # (K, 1)
            fresh = z[torch.randint(len(z), (len(self.codebook),), device=z.device)]  # (K, D)
            self.codebook.copy_(torch.where(dead, fresh, self.codebook))
            if self.ema:
                self.ema_sum.copy_(torch.where(dead, fresh, self.ema_sum))
                self.ema_count.masked_fill_(dead[:, 0], 1)
            self.idle.masked_fill_(dead[:, 0], 0)


class ResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), with a 1x1 convolution on the shortcut if the width changes.

    released_shortcut: as in the released code, that shortcut reads the block's own output. This seems to be a mistake,
    but the published 54,515,587 parameters include it.
    """

    def __init__(self, inputs: int, outputs: int, released_shortcut: bool = False):
        super().__init__()
        self.body = nn.Sequential(
            _norm(inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.released_shortcut = released_shortcut
        source = outputs if released_shortcut else inputs
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(source, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        own = self.released_shortcut and not isinstance(self.shortcut, nn.Identity)
        return out + self.shortcut(out if own else x)


class Encoder(nn.Sequential):
    """Images (B, 3, H, W) to latents (B, D, H/f, W/f)."""

    def __init__(self, width: int, multipliers: Sequence[int], blocks: int, patch: int, code_dim: int, released: bool):
        layers: list[nn.Module] = [nn.PixelUnshuffle(patch), _conv(3 * patch**2, width, bias=False)]
        channels = width
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                layers.append(nn.AvgPool2d(2))
            for _ in range(blocks):
                layers.append(ResidualBlock(channels, width * multiplier, released))
                channels = width * multiplier
        layers += [ResidualBlock(channels, channels) for _ in range(blocks)]
        super().__init__(*layers, _norm(channels), nn.SiLU(), nn.Conv2d(channels, code_dim, 1))


class Decoder(nn.Sequential):
    """Latents (B, D, h, w) to images (B, 3, f*h, f*w); mirrors the encoder."""

    def __init__(self, width: int, multipliers: Sequence[int], blocks: int, patch: int, code_dim: int, released: bool):
        channels = width * multipliers[-1]
        layers: list[nn.Module] = [_conv(code_dim, channels)]
        layers += [ResidualBlock(channels, channels) for _ in range(blocks)]
        for level in reversed(range(len(multipliers))):
            for _ in range(blocks):
                layers.append(ResidualBlock(channels, width * multipliers[level], released))
                channels = width * multipliers[level]
            if level > 0:
                layers += [nn.Upsample(scale_factor=2, mode="nearest"), _conv(channels, channels)]
        super().__init__(*layers, _norm(channels), nn.SiLU(), _conv(channels, 3 * patch**2), nn.PixelShuffle(patch))

    @property
    def last_layer(self) -> nn.Parameter:
        """The weights at which the adaptive weight compares the losses' gradients (VQ-GAN equation 7)."""
        return self[-2].weight


class Tokenizer(nn.Module, PyTorchModelHubMixin):
    """The complete VQ-GAN generator: `encode` to codes, `decode` back; `forward` does both and returns the losses.

    image_size: side in pixels. width: channels of the first level; multipliers: each level's multiple of width; blocks:
    residual blocks per level. patch: side of the pixel patch that the stem folds into channels (1: as in the paper; 4
    makes a small model fast on a CPU). num_codes, code_dim and the rest: see VectorQuantizer.
    """

    def __init__(
        self,
        image_size: int = 256,
        width: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4),
        blocks: int = 2,
        patch: int = 1,
        num_codes: int = 1024,
        code_dim: int = 256,
        beta: float = 0.25,
        l2_norm: bool = True,
        ema: bool = False,
        ema_decay: float = 0.99,
        revive_after: int = 100,
        released_shortcut: bool = False,
        rotate: bool = False,
        linear: bool = False,
        entropy: float = 0.0,
    ):
        super().__init__()
        self.image_size, self.num_codes = image_size, num_codes
        self.downsampling = patch * 2 ** (len(multipliers) - 1)
        if image_size % self.downsampling:
            raise ValueError(f"image size {image_size} is not a multiple of the downsampling {self.downsampling}")
        shape = (width, multipliers, blocks, patch, code_dim, released_shortcut)
        self.encoder, self.decoder = Encoder(*shape), Decoder(*shape)
        self.quantizer = VectorQuantizer(
            num_codes, code_dim, beta, l2_norm, ema, ema_decay, revive_after, rotate, linear, entropy
        )

    @property
    def grid(self) -> int:
        """Tokens along one side: h = w = image_size / f."""
        return self.image_size // self.downsampling

    @property
    def num_tokens(self) -> int:
        """Tokens per image: N = h * w."""
        return self.grid**2

    def forward(self, images: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruct images (B, 3, H, W) in [0, 1], without clipping; also returns codes and quantizer losses."""
        quantized = self.quantizer(self.encoder(images))
        return self.decoder(quantized.z_q), quantized

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] to codes (B, N) in raster order; in training mode, entries learn from them."""
        parts = _in_parts(images, pixels=images.shape[-2:].numel())
        return torch.cat([self.quantizer(self.encoder(part)).codes.flatten(1) for part in parts])

    def decode(self, codes: Tensor, clip: bool = True) -> Tensor:
        """Codes (B, N) in raster order to images (B, 3, H, W), clipped to [0, 1] unless clip is False."""
        z_q = F.embedding(codes, self.quantizer.entries())  # (B, N, D)
        z_q = z_q.unflatten(1, (self.grid, -1)).movedim(-1, 1)  # (B, D, h, w)
        parts = _in_parts(z_q, pixels=z_q.shape[-2:].numel() * self.downsampling**2)
        images = torch.cat([self.decoder(part).float() for part in parts])
        return images.clamp(0, 1) if clip else images


def _in_parts(batch: Tensor, pixels: int) -> tuple[Tensor, ...]:
    return batch.split(max(1, AT_ONCE // pixels))


def _conv(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def _norm(channels: int) -> nn.GroupNorm:
    # 32 groups as in VQ-GAN, fewer if the width is not a multiple of 32.
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)
