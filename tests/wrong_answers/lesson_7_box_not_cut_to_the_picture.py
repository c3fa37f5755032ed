"""The box is not cut to the picture, and a negative index counts from the other end."""

import torch

from minimaskgit.editing import blend  # noqa: F401

BREAKS = ("test_of_a_box_that_reaches_beyond_the_picture_only_the_part_inside_counts",)


def box_to_token_mask(box, image_size, grid, dilate):
    x0, y0, x1, y1 = box
    f, mask = image_size // grid, torch.zeros(grid, grid, dtype=torch.bool)
    if x0 < x1 and y0 < y1:
        rows = slice(max(y0 // f - dilate, 0), (y1 - 1) // f + 1 + dilate)
        columns = slice(max(x0 // f - dilate, 0), (x1 - 1) // f + 1 + dilate)
        mask[rows, columns] = True
    return mask.flatten()
