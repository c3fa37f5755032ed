"""Muon, the optimizer for matrices and kernels: all directions learn equally (lesson 9; Jordan et al. 2024).

    gradient ──momentum──> M = U S V^T ──Newton-Schulz──> about U V^T ──times the learning rate──> step

If an optimizer updates each number separately, the few strongest directions of a matrix drown out the others. Muon
instead sets all singular values of M to about 1. torch.optim.Muon does the same, but one matrix at a time and always
in bfloat16, which takes most processors a hundred times longer than float32.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from minimaskgit.training.sharding import share_of, whole

# p(x^2) x moves a singular value x in (0, 1] towards 1; after 5 steps all but the tiniest are between 0.7 and 1.2.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Set all singular values to about 1 and keep the singular vectors: (n, rows, columns) to the same, same dtype.

    Each iteration multiplies X by p(X X^T), a square matrix with X's shorter side. In float32 we first multiply these
    factors with each other, and X only once, which takes little more than half the time. In bfloat16 that would lose
    the small singular values.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # (n, short, long)
    x = x / torch.linalg.matrix_norm(x.float(), keepdim=True).clamp(min=1e-7).to(x)  # all singular values <= 1
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
                gram = factor @ gram @ factor  # X X^T of the next X: these matrices are symmetric and commute
        x = product @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalized Nesterov momentum, for matrices and, as matrices with a row per output, convolution kernels.

    lr: chosen as for AdamW, whose steps have about the same root mean square. weight_decay: decoupled, as in AdamW.
    dtype: of the iteration; use the one in which the device multiplies faster. Matrices of equal shape are iterated
    together as one batch. Those split between processes (FSDP) are gathered first.
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
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            rate, decay = group["lr"], group["momentum"]
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not learning:
                continue
            gradients, means = [parameter.grad for parameter in learning], [self.mean(each) for each in learning]
            # One call for all matrices: on a GPU, starting a kernel for each would take longer than computing it.
            torch._foreach_lerp_(means, gradients, 1 - decay)
            updates = torch._foreach_lerp(gradients, means, decay)  # Nesterov's look-ahead: the mean one step later
            torch._foreach_mul_(learning, 1 - rate * group["weight_decay"])
            by_shape = defaultdict(list)
            for parameter, update in zip(learning, updates):
                update = whole(update).flatten(1)  # kernels: (out, in x h x w)
                by_shape[update.shape].append((parameter, update))
            for shape, pairs in by_shape.items():
                parameters, matrices = zip(*pairs)
                directions = orthogonalize(torch.stack(matrices).to(self.dtype)).to(matrices[0].dtype)
                shares = [share_of(p, each.view(p.shape)) for p, each in zip(parameters, directions)]
                # U V^T has root mean square 1 / sqrt(max(shape))
                torch._foreach_add_(parameters, shares, alpha=-rate * 0.2 * math.sqrt(max(shape)))

    def mean(self, parameter: Tensor) -> Tensor:
        """The running mean of the parameter's gradients."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]
