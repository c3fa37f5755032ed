"""The generated pixels are taken outside the mask and the original ones inside."""

from minimaskgit import editing
from minimaskgit.editing import box_to_token_mask  # noqa: F401

BREAKS = (
    "test_without_a_rim_the_generated_pixels_are_inside_and_the_original_ones_outside",
    "test_pixels_beyond_the_rim_are_the_original_ones_to_the_bit_and_inside_the_generated_ones",
    "test_in_the_rim_the_share_of_the_generated_pixels_is_the_mask_blurred_by_a_gaussian",
)


def blend(original, generated, mask, radius):
    return editing.blend(generated, original, mask, radius)
