"""The region grows across and down, but not to the diagonal neighbours."""

import torch

from minimaskgit import editing
from minimaskgit.editing import blend  # noqa: F401

BREAKS = ("test_a_token_is_masked_if_a_pixel_of_the_box_lies_in_it_or_in_one_near_it",)


def box_to_token_mask(box, image_size, grid, dilate):
    mask = editing.box_to_token_mask(box, image_size, grid, 0).view(grid, grid)
    for _ in range(dilate):
        grown = torch.nn.functional.pad(mask, (1, 1, 1, 1))
        mask = mask | grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
    return mask.flatten()
