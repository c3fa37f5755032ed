"""A critic: which of the known tokens are wrong?  (near PRISM, arXiv 2510.01384)

    canvas ──block──┬──block──┬── ... ──block──┬──> logits: what each [MASK] may be
                    └────>────┴──────>─────────┴──small network──> scores: whether each token is wrong

A masked transformer is never asked about the tokens that it sees. But on their way through its blocks they meet all
the others, and its features show whether each token fits. So the critic needs no pass of its own: it looks at the
features of the pass that decoding makes anyway. (Token-Critic, arXiv 2209.04439, asks the same of a second transformer,
whose scores take the place of the confidence.)
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from minimaskgit.transformer import Transformer


def critic_loss(scores: Tensor, wrong: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of "this token is not the original one", a scalar in nats.

    scores: logits (B, N). wrong, counted: bool (B, N); the mean is over the counted tokens, by default all of them.
    """
    losses = F.binary_cross_entropy_with_logits(scores.float(), wrong.float(), reduction="none")
    if counted is None:
        return losses.mean()
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


class Critic(nn.Module, PyTorchModelHubMixin):
    """Scores tokens by the outputs of all `depth` blocks of a transformer of this width."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.width, self.depth = width, depth
        self.layers = nn.Sequential(
            nn.LayerNorm(depth * width), nn.Linear(depth * width, width), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, N, depth D) to scores (B, N): logits that a token is wrong."""
        return self.layers(features).squeeze(-1)


def with_features(model: Transformer, predict: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The logits (B, N, K) of a pass of the model, which `predict` makes, and the features (B, N, depth D) within it.

    A guided pass has a second half without classes, whose features are left out.
    """
    outputs: list[Tensor] = []
    keep = lambda block, inputs, output: outputs.append(output)
    hooks = [block.register_forward_hook(keep) for block in model.blocks]
    try:
        logits = predict()
    finally:
        for hook in hooks:
            hook.remove()
    return logits, torch.cat(outputs, dim=-1)[: len(logits), 1:]  # without the class token
