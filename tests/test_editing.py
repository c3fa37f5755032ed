"""Editing and outpainting (lesson 7; paper section 4.3).

Laws of the functions that students write are in laws/test_lesson_7.py.
"""

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import codes, seeds
from tiny import generator, tiny_tokenizer, tiny_transformer

from minimaskgit import editing
from minimaskgit.autoregressive import generate
from minimaskgit.decoding import decode
from minimaskgit.editing import (
    autoregressive_edit,
    blend,
    box_to_mask,
    box_to_token_mask,
    edit,
    edit_steps,
    edit_tokens,
    inpaint,
    mask_to_token_mask,
    soften,
)
from minimaskgit.outpainting import outpaint, outpaint_steps, windows

S, GRID, F, K, C = 32, 8, 4, 6, 3  # pixels and tokens per side, pixels per token, codes, classes
N = GRID**2
TOKENIZER = tiny_tokenizer(image_size=S).eval()
MODEL = tiny_transformer(num_codes=K, num_tokens=N)
TWIN = tiny_transformer(num_codes=K, num_tokens=N, causal=True)
REACH = 3 * (S // 16 - 1)  # of the blended rim, pixels

model_runs = settings(max_examples=15)
step_plans = st.integers(1, 12).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(0, steps - 1)))
sides = st.integers(0, S).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, S)))
boxes = st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), sides, sides)  # some of them empty
pictures = seeds.map(lambda seed: torch.rand(3, 3, S, S, generator=generator(seed)))


@st.composite
def blobs(draw: st.DrawFn, batch: int) -> torch.Tensor:
    """Regions of any shape, bool (batch, S, S): each is a union of boxes, empty, or everything."""
    shapes = st.lists(boxes, max_size=3) | st.just([(0, 0, S, S)])
    drawn = [draw(shapes) for _ in range(batch)]
    empty = torch.zeros(S, S, dtype=torch.bool)
    return torch.stack([sum((box_to_mask(box, S, S) for box in region), start=empty) > 0 for region in drawn])


def some_labels(images: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(images)) % (C + 1)


def pixels(region: torch.Tensor) -> torch.Tensor:
    """Convert a token mask, bool (B, N), to pixels, bool (B, S, S)."""
    return region.view(-1, GRID, GRID).repeat_interleave(F, -1).repeat_interleave(F, -2)


def near(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """Grow a mask, bool (B, H, W), by `reach` pixels in every direction."""
    square = np.ones((1, 2 * reach + 1, 2 * reach + 1))
    return torch.from_numpy(ndimage.binary_dilation(mask.numpy(), square)) if reach else mask


# --- From pixels to tokens ---


@given(mask=blobs(2), dilate=st.integers(0, 3))
def test_a_region_masks_the_tokens_that_its_pixels_mask(mask, dilate):
    found = mask_to_token_mask(mask, GRID, dilate)
    assert found.shape == (2, N) and found.dtype == torch.bool
    for region, tokens in zip(mask, found):
        expected = torch.zeros(N, dtype=torch.bool)
        for y, x in set(map(tuple, (region.nonzero() // F * F).tolist())):
            expected |= box_to_token_mask((x, y, x + 1, y + 1), S, GRID, dilate)
        assert tokens.equal(expected)


@given(mask=blobs(1), dilate=st.integers(0, 8))
def test_the_region_only_grows_with_dilation_and_covers_every_requested_pixel(mask, dilate):
    smaller, larger = (mask_to_token_mask(mask, GRID, d) for d in (dilate, dilate + 1))
    assert (larger | ~smaller).all() and (pixels(smaller) | ~mask).all()
    assert smaller.any() == mask.any()


def test_a_box_is_clipped_to_the_picture_and_half_open():
    assert box_to_mask((-5, 1, 2, 99), 3, 4).int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_rows_and_columns_may_differ_but_must_divide_the_picture():
    assert mask_to_token_mask(box_to_mask((8, 0, 12, 4), 4, 12), (1, 3), 0).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="32x32 pixels do not divide into 5x5 tokens"):
        box_to_token_mask((0, 0, 1, 1), 32, 5, 0)


# --- From tokens back to pixels ---


@given(mask=blobs(3), images=pictures, radius=st.sampled_from([0, 0.5, 1, 2.3]))
def test_pixels_beyond_the_rim_are_exactly_equal_on_both_sides(mask, images, radius):
    generated = 1 - images
    mixed, reach = blend(images, generated, mask, radius), math.ceil(3 * radius)
    outside, inside = ~near(mask, reach), ~near(~mask, reach)
    for picture, own, other, out, within in zip(mixed, images, generated, outside, inside):
        assert picture[:, out].equal(own[:, out]) and picture[:, within].equal(other[:, within])
    low, high = torch.minimum(images, generated), torch.maximum(images, generated)
    assert ((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all()


@given(mask=blobs(2), radius=st.sampled_from([0.5, 1, 3]))
def test_the_rim_is_a_gaussian_blur(mask, radius):
    reach = math.ceil(3 * radius)
    expected = [ndimage.gaussian_filter(m.double().numpy(), radius, mode="nearest", radius=reach) for m in mask]
    np.testing.assert_allclose(soften(mask, radius), np.stack(expected), atol=1e-6)


def test_one_mask_serves_all_pictures_of_a_batch():
    images, mask = torch.rand(3, 3, S, S, generator=generator(0)), box_to_mask((4, 4, 20, 9), S, S)
    assert blend(images, 1 - images, mask, 1).equal(blend(images, 1 - images, mask.expand(3, -1, -1), 1))


# --- Editing ---


@model_runs
@given(images=pictures, masks=blobs(3), dilate=st.integers(0, 2), plan=step_plans, half=st.booleans(), seed=seeds)
def test_tokens_outside_the_region_are_untouched_and_so_are_pixels_beyond_the_rim(
    images, masks, dilate, plan, half, seed
):
    steps, start_step = plan
    options = {"steps": steps, "start_step": start_step, "generator": generator(seed)}
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        tokens = TOKENIZER.encode(images)
        result = edit(TOKENIZER, MODEL, images, masks, some_labels(images), dilate, **options)
    assert result.region.equal(mask_to_token_mask(masks, GRID, dilate)) and len(result.steps) == steps - start_step
    for step in result.steps:
        assert step.sampled[~result.region].equal(tokens[~result.region])
        assert not (step.masked & ~result.region).any()
    far = ~near(pixels(result.region), REACH)
    for edited, original, out in zip(result.images, images, far):
        assert edited[:, out].equal(original[:, out])


@model_runs
@given(images=pictures, plan=step_plans, dilate=st.integers(0, 2), seed=seeds)
def test_a_full_region_is_unconditional_decoding_with_the_same_seed(images, plan, dilate, seed):
    labels, options = some_labels(images), {"steps": plan[0], "start_step": plan[1]}
    everything = torch.ones(S, S, dtype=torch.bool)
    result = edit(TOKENIZER, MODEL, images, everything, labels, dilate, generator=generator(seed), **options)
    tokens = decode(MODEL, labels, generator=generator(seed), **options)
    assert result.steps[-1].tokens.equal(tokens)
    with torch.no_grad():
        assert result.images.equal(TOKENIZER.decode(tokens))


@model_runs
@given(images=pictures, dilate=st.integers(0, 2), plan=step_plans)
def test_an_empty_region_returns_exactly_the_same_picture(images, dilate, plan):
    nothing = torch.zeros(S, S, dtype=torch.bool)
    options = {"steps": plan[0], "start_step": plan[1]}
    result = edit(TOKENIZER, MODEL, images, nothing, some_labels(images), dilate, **options)
    assert result.images.equal(images) and not result.region.any()
    assert outpaint(TOKENIZER, MODEL, images, (0, 0, 0, 0), some_labels(images)).equal(images)


@model_runs
@given(images=pictures, masks=blobs(3), seed=seeds)
def test_an_edit_in_a_batch_keeps_the_same_pixels_as_an_edit_alone(images, masks, seed):
    together = edit(TOKENIZER, MODEL, images, masks, some_labels(images), generator=generator(seed))
    for i, label in enumerate(some_labels(images)):
        alone = edit(TOKENIZER, MODEL, images[i : i + 1], masks[i], label[None], generator=generator(seed))
        region = alone.region[0]
        assert region.equal(together.region[i])
        assert [step.masked.sum().item() for step in alone.steps] == [
            step.masked[i].sum().item() for step in together.steps
        ]
        far = ~near(pixels(region), REACH)[0]
        assert alone.images[0][:, far].equal(together.images[i][:, far])
        assert alone.steps[-1].tokens[0][~region].equal(together.steps[-1].tokens[i][~region])


@model_runs
@given(tokens=codes(K, 2, N), masks=blobs(2), seed=seeds)
def test_the_old_contents_of_the_region_make_no_difference(tokens, masks, seed):
    region = mask_to_token_mask(masks, GRID, 0)
    other = torch.where(region, (tokens + 1) % K, tokens)
    first, second = (
        edit_tokens(MODEL, t, region, some_labels(t), steps=4, generator=generator(seed)) for t in (tokens, other)
    )
    assert first.equal(second)


def test_an_edit_has_12_steps_and_skips_the_first_2():
    tokens, region = torch.zeros(1, N, dtype=torch.long), torch.ones(1, N, dtype=torch.bool)
    region[0, 0] = False
    masked = [step.masked.sum().item() for step in edit_steps(MODEL, tokens, region, torch.tensor([0]))]
    assert masked == [math.floor(63 * math.cos(math.pi / 2 * (t + 1) / 12)) for t in range(2, 11)] + [0]


def test_inpainting_uses_the_given_class_or_no_class():
    images, mask = torch.rand(2, 3, S, S, generator=generator(0)), box_to_mask((8, 8, 20, 20), S, S)
    labels = torch.tensor([2, 1])
    for given_labels, expected in ((labels, labels), (None, torch.tensor([C, C]))):
        with patch.object(editing, "decode_steps", wraps=editing.decode_steps) as decoding:
            inpaint(TOKENIZER, MODEL, images, mask, given_labels)
        assert decoding.call_args.args[1].equal(expected)


# --- Outpainting ---

strides = st.none() | st.integers(1, GRID)


@model_runs
@given(images=pictures, margins=st.tuples(*[st.integers(0, S)] * 4), dilate=st.integers(0, 2), seed=seeds)
def test_outpainting_adds_exactly_the_margins_and_keeps_the_picture_s_inside(images, margins, dilate, seed):
    left, top, right, bottom = margins
    options = {"dilate": dilate, "steps": 2, "start_step": 1, "generator": generator(seed)}
    extended = outpaint(TOKENIZER, MODEL, images[:2], margins, torch.tensor([0, C]), **options)
    assert extended.shape == (2, 3, S + top + bottom, S + left + right)
    rim = F * dilate + REACH
    rows, columns = (slice(rim if a else 0, S - rim if b else S) for a, b in ((top, bottom), (left, right)))
    kept = extended[..., top : top + S, left : left + S]
    assert kept[..., rows, columns].equal(images[:2][..., rows, columns])


@model_runs
@given(images=pictures, margins=st.tuples(*[st.integers(0, 5)] * 4), stride=strides, seed=seeds)
def test_on_a_larger_canvas_fixed_tokens_stay_and_all_tokens_get_fixed(images, margins, stride, seed):
    options = {"stride": stride, "steps": 3, "start_step": 1, "generator": generator(seed)}
    margins = tuple(F * margin for margin in margins)
    run = list(outpaint_steps(TOKENIZER, MODEL, images[:2], margins, torch.tensor([0, C]), **options))
    for step in run:
        fixed = step.tokens != MODEL.mask_id
        assert run[-1].tokens[fixed].equal(step.tokens[fixed])
    assert (run[-1].tokens < K).all()


@model_runs
@given(images=pictures, right=st.integers(1, GRID), seed=seeds)
def test_the_pixels_of_the_last_window_are_decoded_from_its_tokens(images, right, seed):
    options = {"stride": GRID, "dilate": 0, "generator": generator(seed)}
    *_, last = outpaint_steps(TOKENIZER, MODEL, images, (0, 0, F * right, 0), some_labels(images), **options)
    with torch.no_grad():
        painted = TOKENIZER.decode(last.tokens[..., -GRID:].flatten(1))
    assert last.images[..., -F * right :].equal(painted[..., -F * right :])


@pytest.mark.parametrize("stride", [0, GRID + 1])
def test_windows_that_would_leave_gaps_are_refused(stride):
    images = torch.rand(1, 3, S, S, generator=generator(0))
    with pytest.raises(ValueError, match=f"a stride of {stride} tokens; expected 1 to {GRID}"):
        outpaint(TOKENIZER, MODEL, images, (5 * S, 0, 0, 0), torch.tensor([1]), stride=stride)


def test_a_picture_smaller_than_the_window_can_be_extended_to_it_but_not_to_less():
    images = torch.rand(1, 3, S, S // 2, generator=generator(0))
    extended = outpaint(TOKENIZER, MODEL, images, (4, 0, 12, 0), torch.tensor([1]), dilate=0)
    assert extended.shape == (1, 3, S, S)
    assert extended[..., 7:17].equal(images[..., 3:13])
    with pytest.raises(ValueError, match="a canvas of 8x7 tokens; expected at least the window's 8x8"):
        outpaint(TOKENIZER, MODEL, images, (4, 0, 8, 0), torch.tensor([1]))


@given(
    before=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    after=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    grid_and_stride=st.integers(1, 8).flatmap(lambda grid: st.tuples(st.just(grid), st.integers(1, grid))),
)
def test_windows_cover_the_canvas_outwards_and_each_overlaps_earlier_ones(before, after, grid_and_stride):
    grid, stride = grid_and_stride
    canvas = tuple(b + grid + a for b, a in zip(before, after))
    corners = windows(before, canvas, grid, stride)
    assert corners[0] == before and len(set(corners)) == len(corners)
    covered = np.zeros(canvas, bool)
    for row, column in corners:
        part = covered[row : row + grid, column : column + grid]
        assert part.shape == (grid, grid)
        assert not covered.any() or part.sum() >= grid * (grid - stride)
        part[:] = True
    assert covered.all()


# --- The rival ---


@model_runs
@given(tokens=codes(K, 3, N), masks=blobs(3), seed=seeds)
def test_the_autoregressive_edit_keeps_known_tokens_and_generates_codes(tokens, masks, seed):
    region = mask_to_token_mask(masks, GRID, 0)
    edited = autoregressive_edit(TWIN, tokens, region, some_labels(tokens), generator(seed))
    assert edited[~region].equal(tokens[~region]) and ((edited >= 0) & (edited < K)).all()


@model_runs
@given(tokens=codes(K, 1, N), first=st.integers(1, N - 1), seed=seeds)
def test_the_autoregressive_edit_cannot_use_tokens_after_the_region_but_parallel_decoding_can(tokens, first, seed):
    region = torch.zeros(1, N, dtype=torch.bool)
    region[:, first - 1] = True
    other, label = tokens.clone(), torch.tensor([0])
    other[:, first:] = (other[:, first:] + 1) % K
    one, two = (autoregressive_edit(TWIN, t, region, label, generator(seed)) for t in (tokens, other))
    assert one[region].equal(two[region])
    canvases = (t.masked_fill(region, MODEL.mask_id) for t in (tokens, other))
    one, two = (MODEL(canvas, label)[region] for canvas in canvases)
    assert not one.equal(two)


def test_the_autoregressive_edit_of_a_blank_canvas_is_generation():
    labels, region = torch.arange(3), torch.ones(3, N, dtype=torch.bool)
    edited = autoregressive_edit(TWIN, torch.zeros(3, N, dtype=torch.long), region, labels, generator(5))
    assert edited.equal(generate(TWIN, labels, generator=generator(5)))
