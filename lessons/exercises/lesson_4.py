"""Lesson 4, exercises: attention and the block (notebook 4_bidirectional_transformer).

Replace each `raise NotImplementedError`, then `make check-4`. Never write into an argument; work on a copy.
B samples, S positions, D the width, d = D / heads.
"""

import torch.nn.functional as F  # noqa: F401
from torch import Tensor

from minimaskgit import transformer


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: queries (B, heads, S, d), keys and values (B, heads, S', d) to (B, heads, S, d).

    causal: query i sees keys 0..i only (then S = S').

    >>> q = k = torch.zeros(1, 1, 2, 1)  # equal scores: each query averages what it sees
    >>> v = torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)
    >>> attention(q, k, v, causal=False).flatten(), attention(q, k, v, causal=True).flatten()
    (tensor([3., 3.]), tensor([2., 3.]))
    """
    raise NotImplementedError


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, S, D) to (B, heads, S, D / heads): head h gets the h-th slice of the width.

    >>> split_heads(torch.arange(8).view(1, 2, 4), heads=2)[0, 1]  # the second head, at both positions
    tensor([[2, 3],
            [6, 7]])
    """
    raise NotImplementedError


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, S, d) to (B, S, heads * d), the inverse of split_heads.

    >>> merge_heads(torch.tensor([[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]]))
    tensor([[[0, 1, 2, 3],
             [4, 5, 6, 7]]])
    """
    raise NotImplementedError


class Block(transformer.Block):
    """Attention and MLP, each with a residual sum and a LayerNorm; only `forward` is yours.

    It has, from the package: the linear layers qkv (D to 3 D: queries, keys and values, in this order), out (D to D),
    up (D to the MLP's width) and down (back to D); norm1 and norm2; and heads, causal and pre_norm as attributes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) to (B, S, D).

        pre_norm=False, BERT's order:  x <- norm1(x + attend(x)),  x <- norm2(x + mlp(x))
        pre_norm=True:                 x <- x + attend(norm1(x)),  x <- x + mlp(norm2(x))
        attend: qkv, split heads, attention, merge heads, out. mlp: up, GELU, down.
        GELU is x Phi(x), not its approximation by tanh. There is no dropout here.

        >>> block = Block(width=4, heads=2, mlp_width=8, dropout=0.0, causal=False, pre_norm=False)
        >>> block(torch.zeros(1, 3, 4)).shape
        torch.Size([1, 3, 4])
        """
        raise NotImplementedError
