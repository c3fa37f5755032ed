"""The drawn data set: the same pictures for the same seed, and a palette that can be checked (lesson 0)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import seeds
from tiny import generator

from minimaskgit.data.glyphs import GLYPH_NAMES, PALETTES, glyph_parameters, glyphs, palette_of
from minimaskgit.data.images import to_float

drawings = settings(max_examples=20)


# --- Parameters ---


@given(few=st.integers(0, 50), more=st.integers(0, 50), seed=seeds)
def test_a_longer_draw_of_parameters_begins_with_the_shorter_one(few, more, seed):
    short, long = glyph_parameters(few, seed), glyph_parameters(few + more, seed)
    for name in ("labels", "palettes", "centres", "sizes", "angles"):
        assert (getattr(long, name)[:few] == getattr(short, name)).all()


def test_classes_and_palettes_are_drawn_evenly_and_independently():
    p = glyph_parameters(20_000, seed=0)
    table = np.zeros((len(GLYPH_NAMES), len(PALETTES)))
    np.add.at(table, (p.labels, p.palettes), 1)
    assert stats.chisquare(table.flatten()).pvalue > 1e-3


def test_glyphs_move_grow_and_turn_a_little():
    p = glyph_parameters(5000, seed=1)
    for spread in (*p.centres.std(0), p.sizes.std(), p.angles.std()):
        assert 0.02 < spread < 0.2
    assert abs(p.centres - 0.5).max() < 0.1 and abs(p.angles).max() < 0.3 and p.sizes.max() < 0.9


# --- Pictures ---


@drawings
@given(few=st.integers(1, 5), more=st.integers(0, 5), seed=seeds, size=st.integers(8, 40))
def test_a_longer_draw_of_pictures_begins_with_the_shorter_one(few, more, seed, size):
    (short, short_labels), (long, long_labels) = glyphs(few, seed, size), glyphs(few + more, seed, size)
    assert short.shape == (few, 3, size, size) and short.dtype == torch.uint8 and short.is_contiguous()
    assert short_labels.dtype == torch.int64 and ((short_labels >= 0) & (short_labels < 10)).all()
    assert long[:few].equal(short) and long_labels[:few].equal(short_labels)


def test_the_first_pictures_stay_the_same_in_draws_of_more_than_one_chunk_of_a_thousand():
    assert glyphs(1005, seed=3, size=8)[0][998:1002].equal(glyphs(1002, seed=3, size=8)[0][998:])


def test_another_seed_draws_other_pictures():
    assert not glyphs(5, seed=0)[0].equal(glyphs(5, seed=1)[0])


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_labels_do_not_depend_on_the_size(size):
    images, labels = glyphs(50, seed=0, size=size)
    assert labels.tolist() == glyph_parameters(50, seed=0).labels.tolist() and images.shape[-1] == size


@pytest.mark.parametrize("size", [16, 32])
def test_no_glyph_is_cut_off_at_the_edge(size):
    images, palettes = glyphs(2000, seed=1, size=size)[0], glyph_parameters(2000, seed=1).palettes
    frame = torch.ones(size, size, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    outer = images[:, :, frame].double()  # (B, 3, pixels), the background's colour except for its gradient
    background, ink = (torch.from_numpy(PALETTES[palettes, i]).double()[..., None] for i in (0, 1))
    from_background, contrast = (outer - background).norm(dim=1), (ink - background).norm(dim=1)
    assert (from_background < 0.5 * contrast).all()


def test_every_class_has_a_different_shape():
    # All characters that the font lacks would be drawn as the same empty box.
    images, labels = glyphs(2000, seed=0, size=16)
    images, backgrounds = to_float(images), torch.tensor(PALETTES[:, 0]) / 255
    palettes = torch.from_numpy(glyph_parameters(2000, seed=0).palettes)
    ink = ((images - backgrounds[palettes][..., None, None]).norm(dim=1) > 0.35).float()  # (B, H, W)
    shapes = torch.stack([ink[labels == label].mean(0) for label in range(10)])
    assert (torch.cdist(shapes.flatten(1), shapes.flatten(1)) + 9 * torch.eye(10)).min() > 1
    covered = shapes.mean((1, 2))
    assert covered.min() > 0.1 and covered.max() < 0.7


# --- Palettes ---


@drawings
@given(seed=seeds, size=st.sampled_from([16, 24, 32, 64]))
def test_a_drawn_glyph_has_the_palette_it_was_drawn_in(seed, size):
    images, _ = glyphs(20, seed, size)
    assert palette_of(to_float(images)).tolist() == glyph_parameters(20, seed).palettes.tolist()


def test_slight_noise_like_a_tokenizer_s_is_tolerated():
    images = to_float(glyphs(200, seed=0)[0])
    noisy = (images + 0.02 * torch.randn(images.shape, generator=generator(0))).clamp(0, 1)
    assert palette_of(noisy).tolist() == glyph_parameters(200, seed=0).palettes.tolist()


def test_neither_noise_nor_a_flat_canvas_has_a_palette():
    noise = torch.rand(20, 3, 32, 32, generator=generator(0))
    flat = torch.tensor(PALETTES).flatten(0, 1)[..., None, None].expand(-1, 3, 32, 32) / 255
    background = to_float(glyphs(100, seed=0)[0])[..., :1].expand(
        -1, -1, -1, 32
    )  # its left edge, repeated across the picture
    assert all((palette_of(images) == -1).all() for images in (noise, flat, background))


def test_a_picture_with_two_palettes_has_neither():
    images, palettes = to_float(glyphs(200, seed=0)[0]), glyph_parameters(200, seed=0).palettes
    halves = torch.cat([images[:-1, :, :, :16], images[1:, :, :, 16:]], dim=3)
    different = torch.from_numpy(palettes[:-1] != palettes[1:])
    assert different.sum() > 150 and (palette_of(halves)[different] == -1).all()


def test_a_picture_s_palette_does_not_depend_on_its_batch():
    images = to_float(glyphs(10, seed=0)[0])
    assert palette_of(images).tolist() == [palette_of(image[None]).item() for image in images]
