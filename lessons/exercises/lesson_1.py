"""Lesson 1, exercises: from vectors to numbers and back (notebook 1_images_to_tokens).

Replace each `raise NotImplementedError`, then `make check-1`. Never write into an argument; work on a copy.
B samples, N vectors, D their width, K codes.
"""

import torch  # noqa: F401
import torch.nn.functional as F  # noqa: F401
from torch import Tensor


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """Number of the codebook entry nearest to each vector: (..., D) and (K, D) to int64 (...).

    >>> codebook = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    >>> nearest_codes(torch.tensor([[1.0, 1.0], [3.0, -1.0]]), codebook)
    tensor([0, 1])
    """
    raise NotImplementedError


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """The value of z_q with the gradient of z; all three have the same shape.

    >>> z = torch.tensor([1.0], requires_grad=True)
    >>> out = straight_through(z, torch.tensor([3.0]))
    >>> out.backward()
    >>> out.item(), z.grad.item()
    (3.0, 1.0)
    """
    raise NotImplementedError


def vq_losses(z: Tensor, z_q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Codebook loss |sg(z) - e|^2 and commitment loss beta * |z - sg(e)|^2, means over elements: two scalars.

    sg, stop gradient, is `.detach()`: the first loss moves the entries z_q only, the second the encoder's z only.

    >>> codebook_loss, commitment_loss = vq_losses(torch.tensor([1.0]), torch.tensor([3.0]), 0.25)
    >>> codebook_loss.item(), commitment_loss.item()
    (4.0, 1.0)
    """
    raise NotImplementedError


def code_perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """exp(entropy) of the codes' frequencies: int64 of any shape, in 0..K-1, to a scalar in 1..K.

    >>> round(code_perplexity(torch.tensor([0, 0, 5, 5]), num_codes=8).item(), 4)  # two codes, evenly used
    2.0
    """
    raise NotImplementedError
