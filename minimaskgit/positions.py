"""What came after the paper's attention: normalised queries and keys, and positions as rotations (arXiv 2104.09864).

queries, keys (B, heads, S, d) ──RMSNorm──> ──turned by row and column──> attention
"""

import torch
from torch import Tensor, nn


class QueryKey(nn.Module):
    """Changes queries and keys before attention; the weights are the norms' scales.

    qk_norm: root mean square 1 for each query and key, times a learned scale, so that attention cannot saturate
    (ViT-22B, arXiv 2302.05442). rope: rotate them by position, so that their product depends on relative positions.
    """

    def __init__(self, num_tokens: int, dim: int, qk_norm: bool, rope: bool):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(dim, eps=1e-6) if qk_norm else nn.Identity() for _ in "qk")
        self.register_buffer("angles", grid_angles(num_tokens, dim) if rope else None, persistent=False)

    def forward(self, q: Tensor, k: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, S, d) of the positions from `start` on, the class token being position 0."""
        q, k = (norm(x) for norm, x in zip(self.norms, (q, k)))
        if self.angles is None:
            return q, k
        angles = self.angles[start : start + q.shape[2]]
        return rotate(q, angles), rotate(k, angles)


def grid_angles(num_tokens: int, dim: int) -> Tensor:
    """Angles in radians of the pairs of `dim` channels, for the class token and a square grid: (1 + N, dim / 2).

    Half of the pairs turn with the row, half with the column; the class token is not turned.
    """
    side = int(num_tokens**0.5)
    if side * side != num_tokens or dim % 4:
        raise ValueError(f"{num_tokens} tokens, {dim} channels a head: expected a square grid and a multiple of 4")
    frequencies = 100.0 ** -torch.linspace(0, 1, dim // 4)  # from one radian a token to a hundredth
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = torch.cat([place.flatten()[:, None] * frequencies for place in (rows, columns)], dim=1)  # (N, dim / 2)
    return torch.cat([torch.zeros(1, dim // 2), angles])


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn channel pairs (i, i + d/2) of x (B, heads, S, d) by angles (S, d / 2); lengths stay as they are."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
