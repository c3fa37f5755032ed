"""The last row and column of tokens are found by rounding down: a box that ends inside a token leaves that one out."""

import torch

from minimaskgit.editing import blend  # noqa: F401

BREAKS = (
    "test_without_dilation_just_the_tokens_that_the_box_touches_are_masked",
    "test_a_token_is_masked_if_a_pixel_of_the_box_lies_in_it_or_in_one_near_it",
)


def box_to_token_mask(box, image_size, grid, dilate):
    f = image_size // grid
    x0, y0, x1, y1 = (edge // f for edge in box)
    mask = torch.zeros(grid, grid, dtype=torch.bool)
    if x0 < x1 and y0 < y1:
        mask[max(0, y0 - dilate) : y1 + dilate, max(0, x0 - dilate) : x1 + dilate] = True
    return mask.flatten()
