"""Lesson 7, exercises: from pixels to tokens and back (notebook 7_editing).

Replace each `raise NotImplementedError`, then `make check-7`. Never write into an argument; work on a copy.
"""

import torch  # noqa: F401
import torch.nn.functional as F  # noqa: F401
from torch import Tensor

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half-open: x0 <= x < x1


def box_to_token_mask(box: Box, image_size: int, grid: int, dilate: int) -> Tensor:
    """The tokens that a box in pixels touches, dilated: bool (N,) in raster order, N = grid^2.

    image_size: side in pixels, a multiple of grid. dilate: the region grows by this many tokens on every side, also
    diagonally. A box may reach beyond the picture: only the part inside counts. An empty box touches nothing.

    >>> box_to_token_mask((0, 0, 5, 1), image_size=16, grid=4, dilate=0).view(4, 4).int()
    tensor([[1, 1, 0, 0],
            [0, 0, 0, 0],
            [0, 0, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    raise NotImplementedError


def blend(original: Tensor, generated: Tensor, mask: Tensor, radius: float) -> Tensor:
    """The generated pixels inside the mask, the original ones outside, and a soft rim between the two.

    Images (B, 3, H, W), mask bool (B, H, W) or (H, W). radius: standard deviation of the Gaussian that blurs the mask,
    in pixels, cut off at ceil(3 radius); 0 is a hard edge. Beyond the picture's edge the mask keeps its value at the
    edge. Outside the rim, not a bit of the original changes.

    >>> mask = torch.tensor([[True, False]])
    >>> blend(torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2), mask, radius=0)[0, 0]
    tensor([[1., 0.]])
    """
    raise NotImplementedError
