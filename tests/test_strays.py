"""Strays: the metric passes real glyphs, sees what does not belong, and agrees with a person (lesson 8)."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from torch import Tensor

from minimaskgit.data.glyphs import GLYPH_NAMES, PALETTES, coverage, glyph_parameters, glyphs
from minimaskgit.data.images import to_float
from minimaskgit.data.strays import misfit, nearest_drawing, with_strays

RESULTS = Path(__file__).parents[1] / "data" / "results"
KEPT = RESULTS / "strays"


def drawn(count: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Real pictures (B, 3, S, S), their labels, and where their ink is: shares (B, S, S)."""
    images, labels = glyphs(count, seed, size)
    p = glyph_parameters(count, seed)
    rows = zip(p.labels, p.centres, p.sizes, p.angles)
    return to_float(images), labels, torch.from_numpy(np.stack([coverage(*row, size) for row in rows])) / 255


def inks(count: int, seed: int) -> Tensor:
    return torch.from_numpy(PALETTES[glyph_parameters(count, seed).palettes, 1])[..., None, None] / 255


def within(shares: Tensor, pixels: int) -> Tensor:
    """The most ink (B, S, S) within so many pixels of each."""
    return F.max_pool2d(shares, 2 * pixels + 1, 1, pixels)


def windows(where: Tensor, shape: tuple[int, int]) -> Tensor:
    """Whether all of each window of a boolean (S, S) is true, at its top left corner."""
    return where.unfold(0, shape[0], 1).unfold(1, shape[1], 1).all(-1).all(-1)


# --- Real pictures ---


@given(seeds, st.integers(16, 64))
@settings(max_examples=8, deadline=None)
def test_real_pictures_pass(seed, size):
    images, labels = glyphs(100, seed, size)
    assert with_strays(to_float(images), labels).sum() <= 1


def test_of_a_thousand_real_pictures_none_comes_near_the_limit():
    images, labels = glyphs(1000, seed=1)
    assert misfit(to_float(images), labels).max() < 0.5


def test_the_nearest_drawing_of_a_real_picture_is_the_picture():
    _, labels, shares = drawn(200, seed=3)
    assert (nearest_drawing(shares, labels) - shares).square().mean((1, 2)).quantile(0.9) < 1e-5


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_a_blurred_picture_passes(seed):
    images, labels, _ = drawn(40, seed)
    soft = F.avg_pool2d(F.pad(images, (1, 0, 1, 0), mode="replicate"), 2, 1)
    assert with_strays(soft, labels).sum() <= 1


def test_a_picture_s_misfit_does_not_depend_on_its_batch():
    images, labels, _ = drawn(10, seed=0)
    alone = torch.cat([misfit(image[None], label[None]) for image, label in zip(images, labels)])
    torch.testing.assert_close(misfit(images, labels), alone, atol=1e-3, rtol=0)


# --- What does not belong ---


@given(seeds, st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 3), (2, 6), (5, 5)]))
@settings(max_examples=12, deadline=None)
def test_two_pixels_of_ink_on_the_background_are_seen(seed, shape):
    images, labels, shares = drawn(40, seed)
    random = np.random.default_rng(seed)
    for image, ink, near in zip(images, inks(40, seed), within(shares, 2)):
        top, left = random.choice(windows(near == 0, shape).nonzero().numpy())
        image[:, top : top + shape[0], left : left + shape[1]] = ink
    assert with_strays(images, labels).all()


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_a_blob_that_touches_the_glyph_is_seen(seed):
    images, labels, shares = drawn(60, seed)
    random = np.random.default_rng(seed)
    for image, ink, share, near in zip(images, inks(60, seed), shares, within(shares, 1)):
        places = windows(share == 0, (3, 3)) & ~windows(near == 0, (3, 3))
        top, left = random.choice(places.nonzero().numpy())
        image[:, top : top + 3, left : left + 3] = ink
    assert with_strays(images, labels).float().mean() >= 0.95


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_a_hole_in_the_glyph_is_seen(seed):
    images, labels, shares = drawn(60, seed)
    random, spoilt = np.random.default_rng(seed), []
    for index, (image, share) in enumerate(zip(images, shares)):
        places = windows(share == 1, (5, 5)).nonzero().numpy()  # not every glyph is as wide as that somewhere
        if len(places):
            top, left = random.choice(places) + 1
            image[:, top : top + 3, left : left + 3] = image[:, top : top + 3, :1]
            spoilt.append(index)
    assert len(spoilt) > 10 and with_strays(images, labels)[spoilt].all()


@given(seeds, st.sampled_from(["left", "right", "top", "bottom"]))
@settings(max_examples=8, deadline=None)
def test_half_a_glyph_is_seen(seed, lost):
    images, labels, _ = drawn(60, seed)
    for image, (x, y) in zip(images, (glyph_parameters(60, seed).centres * 32).round().astype(int)):
        halves = {"left": np.s_[..., :x], "right": np.s_[..., x:], "top": np.s_[:, :y], "bottom": np.s_[:, y:]}
        image[halves[lost]] = image[..., :1].expand_as(image)[halves[lost]].clone()
    thin = labels == GLYPH_NAMES.index("umbrella") if lost == "bottom" else torch.zeros(60, dtype=torch.bool)
    seen = with_strays(images, labels)
    assert seen[~thin].all() and seen[thin].float().sum() >= thin.sum() // 2  # a short handle is easily overlooked


@given(seeds, st.integers(1, len(GLYPH_NAMES) - 1))
@settings(max_examples=8, deadline=None)
def test_a_glyph_of_another_class_is_seen(seed, further):
    images, labels, _ = drawn(60, seed)
    assert with_strays(images, (labels + further) % len(GLYPH_NAMES)).all()


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_a_glyph_out_of_place_is_seen(seed):
    images, labels, _ = drawn(60, seed)
    assert with_strays(images.roll(8, 3), labels).all()
    upside_down = images.flip(2) + (images[..., :1] - images[..., :1].flip(2))  # on the same background
    assert with_strays(upside_down.clamp(0, 1), labels).float().mean() >= 0.75  # not the sun


def test_flat_canvases_and_noise_are_seen():
    colours = torch.from_numpy(PALETTES).flatten(0, 1)[..., None, None].expand(-1, 3, 32, 32) / 255
    backgrounds = drawn(100, seed=0)[0][..., :1].expand(-1, -1, -1, 32)
    noise = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for images in (colours, backgrounds, noise):
        assert all(with_strays(images, torch.full((len(images),), label)).all() for label in range(len(GLYPH_NAMES)))


def test_a_glyph_in_two_palettes_is_seen():
    first, labels, _ = drawn(100, seed=4)
    palettes = torch.from_numpy(glyph_parameters(100, seed=4).palettes)
    other = first[(palettes != palettes[0]).nonzero()[0, 0]]
    same = palettes == palettes[0]
    first[same, :, :, 16:] = other[:, :, 16:]
    assert with_strays(first[same], labels[same]).all()
