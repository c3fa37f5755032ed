"""Laws of lesson 7: which tokens a box touches, and blending what was painted with what was there (section 4.3)."""

import math
from functools import partial

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sizes import assert_no_size_is_written_in
from strategies import seeds
from tiny import generator

from minimaskgit import editing

TOUCHED = "lesson 7, 'From pixels to tokens': every token that the box touches, and those next to it (released code)"
BLEND = "lesson 7, 'Back to pixels': alpha is the mask, blurred; alpha generated + (1 - alpha) original"

LESSON = {
    "box_to_token_mask": (editing, TOUCHED),
    "blend": (editing, BLEND),
}

radii = st.sampled_from([0.5, 1.0, 2.3])


@st.composite
def boxes_in_pictures(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int, int]:
    """A box, perhaps an empty one, the picture's side in pixels, and its side in tokens."""
    grid = draw(st.integers(1, 5))
    size = grid * draw(st.integers(1, 4))
    (x0, x1), (y0, y1) = (sorted(draw(st.tuples(*[st.integers(0, size)] * 2))) for _ in range(2))
    return (x0, y0, x1, y1), size, grid


@st.composite
def pictures_and_masks(draw: st.DrawFn, batch: int = 2) -> tuple[torch.Tensor, ...]:
    """original and generated (B, 3, H, W), mask bool (B, H, W), a box each."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    original = torch.rand(batch, 3, height, width, generator=generator(draw(seeds)))
    mask = torch.zeros(batch, height, width, dtype=torch.bool)
    for picture in mask:
        picture[draw(st.integers(0, height)) :, draw(st.integers(0, width)) :] = True
    return original, 1 - original, mask


# --- From pixels to tokens ---


@pytest.mark.law("box_to_token_mask")
def test_no_size_is_written_into_the_function(impl):
    sizes = {
        f"{s} pixels and {g} tokens per side": partial(right_with, impl, s, g) for s, g in ((9, 3), (32, 8), (256, 16))
    }
    assert_no_size_is_written_in(sizes)


def right_with(impl, size: int, grid: int) -> bool:
    """Whether the tokens of a picture's upper left pixel and of its first f columns of pixels are right."""
    f, left = size // grid, torch.arange(grid).expand(grid, grid) == 0
    corner = torch.zeros(grid**2, dtype=torch.bool).index_fill(0, torch.tensor(0), True)
    found = (impl.box_to_token_mask(box, size, grid, 0) for box in ((0, 0, 1, 1), (0, 0, f, size)))
    return all(mask.equal(expected) for mask, expected in zip(found, (corner, left.flatten())))


@pytest.mark.law("box_to_token_mask")
@given(drawn=boxes_in_pictures())
def test_without_dilation_just_the_tokens_that_the_box_touches_are_masked(impl, drawn):
    assert_masked(impl, *drawn, dilate=0)


@pytest.mark.law("box_to_token_mask")
@given(drawn=boxes_in_pictures(), dilate=st.integers(0, 3))
def test_a_token_is_masked_if_a_pixel_of_the_box_lies_in_it_or_in_one_near_it(impl, drawn, dilate):
    assert_masked(impl, *drawn, dilate)


@pytest.mark.law("box_to_token_mask")
@pytest.mark.parametrize("dilate", [1, 2])
def test_a_single_pixel_grows_by_as_many_tokens_on_every_side(impl, dilate):
    assert_masked(impl, (10, 10, 11, 11), 21, 7, dilate)  # in the middle of 7 x 7 tokens, of 3 x 3 pixels each


@pytest.mark.law("box_to_token_mask")
def test_of_a_box_that_reaches_beyond_the_picture_only_the_part_inside_counts(impl):
    for box in ((-3, -4, 4, 2), (7, 5, 14, 20), (-9, 2, -1, 5), (13, 3, 20, 6)):
        assert_masked(impl, box, 12, 4, dilate=1)


def assert_masked(impl, box: tuple[int, int, int, int], size: int, grid: int, dilate: int) -> None:
    f, (x0, y0, x1, y1) = size // grid, box
    expected = np.zeros((grid, grid), dtype=bool)
    for y in range(max(0, y0), min(size, y1)):
        for x in range(max(0, x0), min(size, x1)):
            row, column = y // f, x // f
            expected[max(0, row - dilate) : row + dilate + 1, max(0, column - dilate) : column + dilate + 1] = True
    found = impl.box_to_token_mask(box, size, grid, dilate)
    assert found.dtype == torch.bool, oracles.dtype(found, torch.bool)
    assert found.shape == (grid**2,), oracles.shape(found, (grid**2,))
    found, expected = (torch.where(torch.as_tensor(mask).flatten())[0].tolist() for mask in (found, expected))
    said = f"masked tokens: {found}; expected {expected} ({grid} per row, of {f} x {f} pixels)"
    assert found == expected, said


# --- Back to pixels ---


@pytest.mark.law("blend")
@given(drawn=pictures_and_masks())
def test_without_a_rim_the_generated_pixels_are_inside_and_the_original_ones_outside(impl, drawn):
    original, generated, mask = drawn
    mixed = impl.blend(*drawn, 0)
    assert mixed.shape == original.shape, oracles.shape(mixed, original.shape)
    inside = mask[:, None].expand_as(original)
    assert mixed[~inside].equal(original[~inside]), "pixels outside the mask have changed"
    assert mixed[inside].allclose(generated[inside], atol=1e-6), "pixels inside the mask are not the generated ones"


@pytest.mark.law("blend")
@given(drawn=pictures_and_masks(), radius=radii)
def test_pixels_beyond_the_rim_are_the_original_ones_to_the_bit_and_inside_the_generated_ones(impl, drawn, radius):
    original, generated, mask = drawn
    mixed, reach = impl.blend(original, generated, mask, radius), math.ceil(3 * radius)
    outside, inside = (~near(region, reach)[:, None].expand_as(original) for region in (mask, ~mask))
    assert mixed[outside].equal(original[outside]), f"pixels more than {reach} from the mask have changed"
    kept = mixed[inside].allclose(generated[inside], atol=1e-5)
    assert kept, f"pixels of the mask more than {reach} from its edge are not the generated ones"


@pytest.mark.law("blend")
@given(drawn=pictures_and_masks(), radius=radii)
def test_in_the_rim_the_share_of_the_generated_pixels_is_the_mask_blurred_by_a_gaussian(impl, drawn, radius):
    original, generated, mask = drawn
    found = impl.blend(torch.zeros_like(original), torch.ones_like(original), mask, radius)
    reach = math.ceil(3 * radius)
    for share, region in zip(found, mask.double().numpy(), strict=True):
        expected = ndimage.gaussian_filter(region, radius, mode="nearest", radius=reach)
        off = np.abs(share.numpy() - expected).max(0)  # (H, W)
        y, x = np.unravel_index(off.argmax(), off.shape)
        said = (
            f"the generated picture's share at row {y}, column {x}: {oracles.instead(share[0, y, x], expected[y, x])}"
        )
        assert off.max() < 1e-4, said
    mixed, share = impl.blend(original, generated, mask, radius), found.double()
    expected = share * generated.double() + (1 - share) * original.double()
    assert mixed.double().allclose(expected, atol=1e-4), "the pictures are not mixed by the same shares"


@pytest.mark.law("blend")
def test_one_mask_serves_all_pictures_of_a_batch(impl):
    original = torch.rand(3, 3, 8, 8, generator=generator(0))
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 1:7] = True
    one, each = (impl.blend(original, 1 - original, m, 1.0) for m in (mask, mask.expand(3, 8, 8)))
    assert one.shape == each.shape and one.allclose(each, atol=1e-6), "a mask (H, W) is not that mask for all"


def near(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """The pixels of bool (B, H, W) and those up to `reach` beside or above them."""
    square = np.ones((1, 2 * reach + 1, 2 * reach + 1))
    return torch.from_numpy(ndimage.binary_dilation(mask.numpy(), square))
