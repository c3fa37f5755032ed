"""Muon, the optimizer of the transformers' matrices: all directions learn alike (lesson 9; Jordan et al. 2024).

    gradient ──momentum──> M = U S V^T ──Newton-Schulz──> about U V^T ──times the learning rate──> step

An optimizer with a step per number lets the few strongest directions of a matrix drown the others. Muon sets all of
M's singular values to about 1 instead. torch.optim.Muon does the same, but always iterates in bfloat16, which takes
most processors a hundred times longer than float32, and one matrix at a time.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from minimaskgit.training.sharding import share_of, whole

# p(x^2) x moves a singular value x of (0, 1] to about 1: in 5 steps all but the tiniest to 0.7 to 1.2.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """The same singular vectors with singular values of about 1: (n, rows, columns) to the same, in their dtype.

    Each iteration multiplies X by p(X X^T), of X's short side. In float32 these factors are multiplied first, and X
    only once, which takes little more than half the time. In bfloat16 that would lose the small singular values.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # (n, short, long)
    x = x / torch.linalg.matrix_norm(x.float(), keepdim=True).clamp(min=1e-7).to(x)  # no singular value is above 1
    a, b, c = COEFFICIENTS
    if x.dtype == torch.bfloat16:
        for _ in range(ITERATIONS):
            gram = x @ x.mT  # (n, short, short)
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    else:
        gram, product = x @ x.mT, None
        for step in range(ITERATIONS):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)  # p(G) = a + b G + c G^2
            product = factor if product is None else factor @ product
            if step < ITERATIONS - 1:
                gram = factor @ gram @ factor  # of the next X: all of these are symmetric and commute
        x = product @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, for two-dimensional parameters.

    lr: as one would choose it for AdamW, whose steps have about the same root mean square. weight_decay: decoupled, as
    AdamW's. dtype: of the iteration; the one that the device multiplies faster. Matrices of one shape are iterated as
    one batched product; those split between processes (FSDP) are put together for it.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            alike = defaultdict(list)  # (parameter, its update) by shape
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self.momentum(parameter, group["momentum"])
                    alike[update.shape].append((parameter, update))
            for shape, pairs in alike.items():
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))  # U V^T has the root mean square 1 / sqrt(max(shape))
                directions = orthogonalize(torch.stack([update for _, update in pairs])).to(pairs[0][0].dtype)
                for (parameter, _), direction in zip(pairs, directions):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(share_of(parameter, direction), alpha=-rate)

    def momentum(self, parameter: Tensor, decay: float) -> Tensor:
        """Take the gradient into the running mean; returns where Nesterov looks: one more such step ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - decay)
        return whole(parameter.grad.lerp(mean, decay)).to(self.dtype)
