"""The transformer of both decoders, masked and autoregressive (lesson 4; paper section 3.1, BERT's architecture).

    [class] t1 t2 [M] t4 ... tN ──embed + position──> Block x L ──dense, GELU, norm──> logits over the K codes

`causal=False` is MaskGIT: every position sees all others and predicts its *own* token. `causal=True` is the
autoregressive baseline: a position sees only earlier positions and itself, and predicts the *next* token. Nothing else
differs.

One embedding table holds all ids: 0..K-1 are the codes, K..K+C-1 the classes, and K+C is [MASK], which in place of the
class means "no class" (classifier-free guidance). The same table, transposed, is the output layer. Only its K rows of
codes are used, so the output is never [MASK] or a class.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minimaskgit.positions import QueryKey

Gelu = Literal["erf", "tanh"]  # x Phi(x) itself, or its approximation by tanh: BERT's and the released code's


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, S, D) to (B, heads, S, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, S, d) to (B, S, heads * d), the inverse of split_heads."""
    return x.transpose(1, 2).flatten(2)


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: queries (B, heads, S, d), keys and values (B, heads, S', d) to (B, heads, S, d).

    causal: query i sees keys 0..i only (needs S = S').
    """
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16):
        # The CPU's fused kernel is far slower in bfloat16 than in float32, above all backward.
        with torch.autocast("cpu", enabled=False):
            return attention(q.float(), k.float(), v.float(), causal, dropout).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)


class KVCache:
    """Keys and values of the positions read so far, one pair per block: (B, heads, N, d) each, allocated in advance."""

    def __init__(self, model: "Transformer", batch: int):
        device, weight = model.embedding.weight.device, model.embedding.weight
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else weight.dtype
        shape = (batch, model.heads, model.num_tokens, model.width // model.heads)
        self.layers = [tuple(torch.empty(shape, dtype=dtype, device=device) for _ in range(2)) for _ in model.blocks]
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions' keys and values (B, heads, S, d); return all so far, (B, heads, length + S, d)."""
        end = self.length + k.shape[2]
        for store, new in zip(self.layers[layer], (k, v), strict=True):
            store[:, :, self.length : end] = new
        keys, values = self.layers[layer]
        return keys[:, :, :end], values[:, :, :end]


class Block(nn.Module):
    """Attention and MLP, each with a residual connection and a LayerNorm.

    pre_norm=False is the released order (BERT's): the norm follows the residual sum. pre_norm=True applies the norm
    before each sublayer, which trains faster and without a long warm-up. The parameters are the same.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        dropout: float,
        causal: bool,
        pre_norm: bool,
        norm_eps: float = 1e-6,
        gelu: Gelu = "erf",
    ):
        super().__init__()
        self.heads, self.causal, self.pre_norm, self.dropout = heads, causal, pre_norm, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, mlp_width)
        self.down = nn.Linear(mlp_width, width)
        self.norm1 = nn.LayerNorm(width, norm_eps)
        self.norm2 = nn.LayerNorm(width, norm_eps)
        self.gelu = activation(gelu)
        self.query_key: QueryKey | None = None  # positions.py; the paper has none

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """(B, S, D) to (B, S, D); with a cache, the S positions follow the cached ones (S = 1 unless it is empty)."""
        if self.pre_norm:
            x = x + self._attend(self.norm1(x), cache, layer)
            return x + self._mlp(self.norm2(x))
        x = self.norm1(x + self._attend(x, cache, layer))
        return self.norm2(x + self._mlp(x))

    def _attend(self, x: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if self.query_key is not None:
            q, k = self.query_key(q, k, cache.length if cache else 0)
        causal = self.causal
        if cache is not None:
            k, v = cache.extend(layer, k, v)
            causal = causal and q.shape[2] > 1  # a single new position may see all positions
        return self._drop(self.out(merge_heads(attention(q, k, v, causal, self.dropout if self.training else 0.0))))

    def _mlp(self, x: Tensor) -> Tensor:
        return self._drop(self.down(self.gelu(self.up(x))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module, PyTorchModelHubMixin):
    """The backbone of both decoders, with class token, learned positions and tied output embedding.

    num_codes K, num_classes C, num_tokens N; depth L blocks of `width` D with `heads` and `mlp_width`; dropout on
    embeddings, attention and both sublayers. The defaults are the paper's ImageNet-256 model: 172,457,193 parameters.
    norm_eps: added to the variance in every LayerNorm. The authors' weights need heads=16, norm_eps=1e-12, gelu="tanh".
    After the paper: qk_norm and rope (positions.py); count_masks tells a masked model how many tokens are masked.
    """

    def __init__(
        self,
        num_codes: int = 1024,
        num_classes: int = 1000,
        num_tokens: int = 256,
        width: int = 768,
        depth: int = 24,
        heads: int = 8,
        mlp_width: int = 3072,
        dropout: float = 0.1,
        pre_norm: bool = False,
        causal: bool = False,
        qk_norm: bool = False,
        rope: bool = False,
        count_masks: bool = False,
        norm_eps: float = 1e-6,
        gelu: Gelu = "erf",
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of the number of heads {heads}")
        self.num_codes, self.num_classes, self.num_tokens = num_codes, num_classes, num_tokens
        self.width, self.heads, self.dropout = width, heads, dropout
        self.pre_norm, self.causal = pre_norm, causal
        self.recompute = False  # activation checkpointing: keep only each block's input for the backward pass
        self.embedding = nn.Embedding(num_codes + num_classes + 1, width)
        self.positions = nn.Parameter(torch.empty(num_tokens + 1, width))
        self.norm = nn.LayerNorm(width, norm_eps)  # of the embedding, or with pre_norm of the last block's output
        shape = (width, heads, mlp_width, dropout, causal, pre_norm, norm_eps, gelu)
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(depth))
        self.head = nn.Sequential(nn.Linear(width, width), activation(gelu), nn.LayerNorm(width, norm_eps))
        self.bias = nn.Parameter(torch.zeros(num_codes + num_classes + 1))
        if qk_norm or rope:
            for block in self.blocks:
                block.query_key = QueryKey(num_tokens, width // heads, qk_norm, rope)
        self.masks = nn.Embedding(num_tokens + 1, width) if count_masks and not causal else None
        self.apply(_truncated_normal)
        nn.init.trunc_normal_(self.positions, std=0.02, a=-0.04, b=0.04)

    @property
    def mask_id(self) -> int:
        """The id of [MASK], which in place of the class means "no class"."""
        return self.num_codes + self.num_classes

    def forward(self, tokens: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
        """Logits over the codes, (B, N, K), for tokens (B, N) of class `labels` (B,) in 0..C, where C is "no class".

        Bidirectional: row i predicts token i, which may be [MASK]. Causal: row i also predicts token i, from the class
        and tokens 0..i-1. where (B, M): compute logits only at these positions, (B, M, K).
        """
        classes = (self.num_codes + labels)[:, None]  # (B, 1)
        if self.causal:
            x = self.trunk(shift_right(tokens, classes))
        else:
            x = self.trunk(torch.cat([classes, tokens], dim=1))[:, 1:]
        if where is not None:
            x = x.gather(1, where[..., None].expand(-1, -1, self.width))
        return self.logits(x)

    def trunk(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Run all blocks on ids (B, S), which begin with the class token or follow the cached positions: (B, S, D)."""
        start = cache.length if cache else 0
        if start and ids.shape[1] > 1:
            raise ValueError(f"{ids.shape[1]} positions for a cache that is not empty; expected one at a time")
        x = self.embedding(ids) + self.positions[start : start + ids.shape[1]]
        if self.masks is not None:  # the class token also says how many tokens are masked
            x[:, 0] += self.masks((ids[:, 1:] == self.mask_id).sum(1))
        x = F.dropout(x if self.pre_norm else self.norm(x), self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            if self.recompute and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x, cache, layer)
        if cache:
            cache.length += ids.shape[1]
        return self.norm(x) if self.pre_norm else x

    def logits(self, x: Tensor) -> Tensor:
        """Trunk outputs (..., D) to logits over the K codes, (..., K)."""
        return F.linear(self.head(x), self.embedding.weight[: self.num_codes], self.bias[: self.num_codes])


def activation(gelu: Gelu) -> nn.GELU:
    """The GELU of this name."""
    return nn.GELU({"erf": "none", "tanh": "tanh"}[gelu])


def shift_right(tokens: Tensor, start: Tensor) -> Tensor:
    """A causal model's input to predict `tokens`: (B, N) and start (B, 1) to [start, t1, ..., tN-1], (B, N)."""
    return torch.cat([start, tokens[:, :-1]], dim=1)


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)  # two standard deviations, as released
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
