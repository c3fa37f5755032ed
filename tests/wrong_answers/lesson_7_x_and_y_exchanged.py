"""x counts rows and y columns: the region is mirrored at the diagonal."""

from minimaskgit import editing
from minimaskgit.editing import blend  # noqa: F401

BREAKS = (
    "test_without_dilation_just_the_tokens_that_the_box_touches_are_masked",
    "test_a_token_is_masked_if_a_pixel_of_the_box_lies_in_it_or_in_one_near_it",
)


def box_to_token_mask(box, image_size, grid, dilate):
    x0, y0, x1, y1 = box
    return editing.box_to_token_mask((y0, x0, y1, x1), image_size, grid, dilate)
