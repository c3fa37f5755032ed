"""The blur is not cut off: pixels far from the mask change by a little, and nothing outside is as it was."""

import torch

from minimaskgit.editing import box_to_token_mask  # noqa: F401

BREAKS = ("test_pixels_beyond_the_rim_are_the_original_ones_to_the_bit_and_inside_the_generated_ones",)


def blend(original, generated, mask, radius):
    alpha = mask.expand(len(original), *mask.shape[-2:]).float()
    if radius:
        for size, axis in zip(mask.shape[-2:], (1, 2)):
            places = torch.arange(size)
            weights = torch.exp(-0.5 * ((places[:, None] - places) / radius) ** 2)
            weights /= weights.sum(1, keepdim=True)
            alpha = torch.movedim(torch.movedim(alpha, axis, -1) @ weights.T, -1, axis)
    return torch.lerp(original, generated, alpha[:, None])
