"""The edge is hard whatever the radius."""

from minimaskgit import editing
from minimaskgit.editing import box_to_token_mask  # noqa: F401

BREAKS = ("test_in_the_rim_the_share_of_the_generated_pixels_is_the_mask_blurred_by_a_gaussian",)


def blend(original, generated, mask, radius):
    return editing.blend(original, generated, mask, 0)
