"""Models small enough to try a law on them in a millisecond."""

import torch
from torch import Tensor, nn

from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_transformer(seed: int = 0, **options) -> Transformer:
    """A 3 x 3 canvas of 11 codes and 3 classes, in eval mode.

    Its weights are drawn wider than for training, so that the untrained answers differ clearly between the codes and
    depend on all that the model sees.
    """
    shape = {"num_codes": 11, "num_classes": 3, "num_tokens": 9, "width": 16, "depth": 2, "heads": 2, "mlp_width": 32}
    model = Transformer(**shape | {"dropout": 0.0} | options)
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


class FixedLogits(nn.Module):
    """Stands in for a Transformer: gives the same logits (N, K) whatever it is shown, and remembers what that was."""

    def __init__(self, logits: Tensor, num_classes: int = 3):
        super().__init__()
        self.answer = nn.Parameter(logits.clone())
        (self.num_tokens, self.num_codes), self.num_classes = logits.shape, num_classes
        self.mask_id = self.num_codes + num_classes
        self.seen: list[Tensor] = []

    def forward(self, tokens: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
        self.seen.append(tokens.clone())
        logits = self.answer.expand(len(tokens), -1, -1)
        return logits if where is None else logits.gather(1, where[..., None].expand(-1, -1, self.num_codes))
