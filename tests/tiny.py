"""Models small enough to test a law on them in a millisecond.

Models that laws pass to answers have a `described_by`, from which another process can build the same: the name of a
function or class of this file, and its arguments.
"""

import torch
from torch import Tensor, nn

from minimaskgit.adversary import PatchDiscriminator
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import KVCache, Transformer


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_transformer(seed: int = 0, **options) -> Transformer:
    """A 3 x 3 canvas of 11 codes and 3 classes, in eval mode.

    Its weights have a larger variance than for training, so that the untrained logits differ clearly between the codes
    and depend on every input.
    """
    shape = {"num_codes": 11, "num_classes": 3, "num_tokens": 9, "width": 16, "depth": 2, "heads": 2, "mlp_width": 32}
    model = Transformer(**shape | {"dropout": 0.0} | options)
    model.described_by = ("tiny_transformer", {"seed": seed, **options})
    draw = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def tiny_tokenizer(**options) -> Tokenizer:
    """8 x 8 pixels to a 2 x 2 grid of 6 codes, in training mode."""
    shape = {"image_size": 8, "width": 8, "multipliers": (1, 2), "blocks": 1, "patch": 2, "num_codes": 6, "code_dim": 4}
    torch.manual_seed(0)
    return Tokenizer(**shape | options)


def released_transformer(**options) -> Transformer:
    """As the authors' own, but with 16 codes, 5 classes and a 4 x 4 canvas."""
    shape = {"num_codes": 16, "num_classes": 5, "num_tokens": 16, "width": 32, "depth": 2, "heads": 4, "mlp_width": 64}
    torch.manual_seed(0)
    return Transformer(**shape | {"norm_eps": 1e-12, "gelu": "tanh"} | options).eval()


def released_tokenizer(**options) -> Tokenizer:
    """As the authors' own, but of 8 x 8 pixels in a 4 x 4 grid of 16 codes, with every parameter random."""
    shape = {"image_size": 8, "width": 32, "multipliers": (1, 2), "blocks": 2, "patch": 1, "num_codes": 16}
    torch.manual_seed(0)
    model = Tokenizer(**shape | {"code_dim": 4, "l2_norm": False, "released_shortcut": True} | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def tiny_discriminator() -> PatchDiscriminator:
    """Scores of 16 x 16 pixels, in 2 x 2 patches."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(width=4, layers=2)
    discriminator.described_by = ("tiny_discriminator", {})
    return discriminator


def cache_after(model: Transformer, ids: Tensor) -> KVCache:
    """The cache of a causal model that has read `ids` (B, S); S may be 0."""
    cache = KVCache(model, len(ids))
    cache.described_by = ("cache_after", {"model": model, "ids": ids})
    if ids.shape[1]:
        with torch.no_grad():
            model.trunk(ids, cache)
    return cache


class FixedLogits(nn.Module):
    """Stands in for a Transformer: returns the same logits for any input, and remembers its inputs.

    logits: (N, K), or (C + 1, N, K), one for each class.
    """

    def __init__(self, logits: Tensor, num_classes: int = 3):
        super().__init__()
        self.answer = nn.Parameter(logits.clone())
        (self.num_tokens, self.num_codes), self.num_classes = logits.shape[-2:], num_classes
        self.mask_id = self.num_codes + num_classes
        self.described_by = ("FixedLogits", {"logits": logits, "num_classes": num_classes})
        self.seen: list[Tensor] = []

    def forward(self, tokens: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
        self.seen.append(tokens.clone())
        logits = self.answer[labels] if self.answer.ndim == 3 else self.answer.expand(len(tokens), -1, -1)
        return logits if where is None else logits.gather(1, where[..., None].expand(-1, -1, self.num_codes))


class Telling(FixedLogits):
    """The same, but what it says depends on how many tokens of each canvas are shown.

    logits: (N + 1, N, K), one for each number of them.
    """

    def __init__(self, logits: Tensor, num_classes: int = 3):
        super().__init__(logits, num_classes)
        self.described_by = ("Telling", {"logits": logits, "num_classes": num_classes})

    def forward(self, tokens: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
        return super().forward(tokens, (tokens != self.mask_id).sum(1), where)
