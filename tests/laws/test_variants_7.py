"""Laws of lesson 7's variants: tokens that a region covers enough of, and a rim that lies inside of it.

`drawn` is what the teacher's number drew (lessons/variants/lesson_7.py). The rim is judged by an equation between
neighbours that only the right one solves.
"""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator

from minimaskgit.grading.variants import stubs

LESSON = {
    "covered_tokens": (stubs(7), "lesson 7, 'From pixels to tokens'; covered means counted, not touched"),
    "blend_inside": (stubs(7), "lesson 7, 'Back to pixels'; alpha by depth, so that nothing outside changes"),
}
AROUND = {
    "cross": lambda dy, dx: abs(dy) + abs(dx) <= 1,
    "row": lambda dy, dx: dy == 0 and abs(dx) <= 1,
    "column": lambda dy, dx: dx == 0 and abs(dy) <= 1,
    "diagonals": lambda dy, dx: abs(dy) == abs(dx) <= 1,
}


@st.composite
def regions(draw: st.DrawFn) -> tuple[torch.Tensor, int]:
    """Pixels, bool (H, W), about half of them True, and the grid's side."""
    grid, down, across = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    noise = torch.rand(grid * down, grid * across, generator=generator(draw(seeds)))
    return noise < draw(st.sampled_from([0.1, 0.4, 0.6, 0.9])), grid


@pytest.mark.law("covered_tokens")
@given(region=regions(), grown=st.booleans())
def test_a_token_is_taken_if_enough_of_it_is_covered_or_if_that_is_so_of_its_neighbour(impl, drawn, region, grown):
    pixels, grid = region
    found = impl.covered_tokens(pixels, grid, grown)
    assert found.dtype == torch.bool, oracles.dtype(found, torch.bool)
    assert found.shape == (grid, grid), oracles.shape(found, (grid, grid))
    cells = [[cell.flatten().tolist() for cell in row.chunk(grid, 1)] for row in pixels.chunk(grid, 0)]
    seeds_of = {
        (y, x)
        for y, row in enumerate(cells)
        for x, cell in enumerate(row)
        if drawn["parts"] * sum(cell) >= drawn["part"] * len(cell)
    }
    near = AROUND[drawn["around"]] if grown else lambda dy, dx: dy == dx == 0
    for y in range(grid):
        for x in range(grid):
            taken = any(near(y - v, x - u) for v, u in seeds_of)
            said = f"token ({y}, {x}) has {sum(cells[y][x])} of {len(cells[y][x])} pixels covered"
            assert found[y, x] == taken, f"{said}; returned {found[y, x].item()}, expected {taken}"


@st.composite
def masks_of_pictures(draw: st.DrawFn) -> torch.Tensor:
    """Bool (2, H, W): large regions with holes, or everything."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    noise = torch.rand(2, height, width, generator=generator(draw(seeds)))
    return noise < draw(st.sampled_from([0.5, 0.8, 0.95, 1.1]))


def alphas(impl, mask: torch.Tensor) -> torch.Tensor:
    """How much of the generated picture is seen at each pixel: (B, H, W)."""
    shape = (len(mask), 3, *mask.shape[1:])
    blended = impl.blend_inside(torch.zeros(shape), torch.ones(shape), mask)
    assert blended.shape == shape, oracles.shape(blended, shape)
    return blended[:, 0]


@pytest.mark.law("blend_inside")
@given(mask=masks_of_pictures())
def test_alpha_is_nothing_outside_and_inside_one_step_more_than_at_the_outermost_neighbour(impl, drawn, mask):
    alpha = alphas(impl, mask)
    assert not alpha[~mask].any(), "a pixel outside of the mask has changed"
    _, height, width = mask.shape
    for sample, y, x in mask.nonzero().tolist():
        near = [
            alpha[sample, v, u].item()
            for v in range(max(0, y - 1), min(height, y + 2))
            for u in range(max(0, x - 1), min(width, x + 2))
            if (v, u) != (y, x) and (drawn["king"] or v == y or u == x)
        ]
        expected = min([1.0, *(one + 1 / drawn["width"] for one in near)])
        found = alpha[sample, y, x].item()
        said = f"sample {sample}, pixel ({y}, {x}): alpha is {found:.3f}; by its neighbours it should be {expected:.3f}"
        assert abs(found - expected) < 1e-4, said


@pytest.mark.law("blend_inside")
@given(mask=masks_of_pictures(), draw=seeds)
def test_both_pictures_are_mixed_by_the_same_alpha_and_outside_not_a_bit_changes(impl, drawn, mask, draw):
    original, generated = torch.rand(2, len(mask), 3, *mask.shape[1:], generator=generator(draw))
    blended, alpha = impl.blend_inside(original, generated, mask), alphas(impl, mask)[:, None]
    expected = alpha * generated + (1 - alpha) * original
    assert torch.allclose(blended, expected, atol=1e-5), oracles.instead(blended, expected)
    outside = ~mask[:, None].expand_as(original)
    assert blended[outside].equal(original[outside]), "a pixel outside of the mask has changed by a rounding error"
