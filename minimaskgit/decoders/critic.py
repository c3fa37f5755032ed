"""A critic: which of the known tokens are wrong? (Token-Critic, arXiv 2209.04439; PRISM, arXiv 2510.01384)

    canvas ──first blocks of the transformer──┬──its last blocks──────────> logits: what [MASK] may be
                                              └──the critic's copies──> scores: whether a token is wrong

A masked transformer learns nothing about the tokens that it sees: its loss is on the hidden ones. But on their way
through its blocks, visible tokens have met all the others. The critic continues from there, within the pass that
decoding makes anyway, and costs no more than its own few blocks.
"""

from collections.abc import Callable

import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from minimaskgit.transformer import Block, Transformer


def critic_loss(scores: Tensor, wrong: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of "this token is not the original one", a scalar in nats.

    scores: logits (B, N). wrong, counted: bool (B, N); the mean is over the counted tokens, by default all of them.
    """
    losses = F.binary_cross_entropy_with_logits(scores.float(), wrong.float(), reduction="none")
    if counted is None:
        return losses.mean()
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


class Critic(nn.Module, PyTorchModelHubMixin):
    """`depth` blocks and a linear layer, on the features that enter a transformer's last `depth` blocks."""

    def __init__(self, width: int, depth: int, heads: int, mlp_width: int, pre_norm: bool):
        super().__init__()
        self.depth = depth
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width, 0.0, False, pre_norm) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 1 + N, D), the class first, to scores (B, N): logits that a token is wrong."""
        for block in self.blocks:
            features = block(features)
        return self.score(self.norm(features[:, 1:])).squeeze(-1)

    def beside(self, model: Transformer, predict: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """The result of `predict`, which is a pass of the model, and the scores (B, N) of the tokens that it saw."""
        seen: list[Tensor] = []
        last = model.blocks[len(model.blocks) - self.depth - 1]
        hook = last.register_forward_hook(lambda block, inputs, output: seen.append(output))
        try:
            result = predict()
        finally:
            hook.remove()
        return result, self(seen[0])
