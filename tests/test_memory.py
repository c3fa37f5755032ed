"""How much of the samples is memory: copies are found, however they come, and nothing else is (lesson 8)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import normal, seeds
from tiny import generator
from torch import Tensor

from minimaskgit import evaluate
from minimaskgit.data.images import to_float
from minimaskgit.data.sources import load_data
from minimaskgit.figures.sheets import CELL, GAP, MARGIN
from minimaskgit.measuring import evaluation
from minimaskgit.measuring.memory import PART, below, chance, nearest, originals, pixels, relative, search
from minimaskgit.runs.origin import run_data
from minimaskgit.runs.run import open_run

WIDTH = 5  # D
counts = st.integers(1, 60)


def cloud(count: int, draw: torch.Generator) -> Tensor:
    return torch.randn(count, WIDTH, generator=draw)


def pictures(count: int, seed: int, size: int = 8) -> Tensor:
    return torch.randint(256, (count, 3, size, size), generator=generator(seed), dtype=torch.uint8)


def score(fake: Tensor, trained: Tensor, reference: Tensor, second: Tensor) -> float:
    fakes, real = (relative(*(nearest(x, each).distances for each in (trained, reference))) for x in (fake, second))
    return below(fakes, real)


def found(queries: Tensor, images: Tensor, flip: bool, part: int = PART) -> tuple[Tensor, Tensor]:
    """Distances in pixels to the nearest images, and which those are."""
    return search({"pixels": pixels}, {"pixels": pixels(queries)}, images.split(part), len(images), flip)["pixels"]


# --- The measure ---


@given(normal(20, WIDTH), normal(30, WIDTH))
def test_the_nearest_is_numpy_s(points, others):
    expected = np.linalg.norm(points.numpy()[:, None] - others.numpy()[None], axis=2)
    distances, indices = nearest(points, others)
    np.testing.assert_allclose(distances, expected.min(1), rtol=1e-5)
    assert indices.tolist() == expected.argmin(1).tolist()


@given(counts, counts, st.integers(1, 60), seeds)
def test_copies_of_training_images_are_all_memory(fakes, trained, real, seed):
    draw = generator(seed)
    known, reference, second = (cloud(count, draw) for count in (trained, 40, real))
    copies = known[torch.randint(trained, (fakes,), generator=draw)]
    assert score(copies, known, reference, second) == 1


@given(st.floats(0.001, 1000), seeds)
def test_neither_order_nor_scale_matters(scale, seed):
    draw = generator(seed)
    sets = [cloud(count, draw) for count in (30, 50, 40, 45)]
    shuffled = [scale * each[torch.randperm(len(each), generator=draw)] for each in sets]
    assert score(*shuffled) == pytest.approx(score(*sets))


@given(st.integers(1, 60), st.integers(1, 200), st.floats(0.01, 0.3))
def test_held_out_images_score_at_most_their_share(ties, real, share):
    values = torch.arange(real) // ties  # with equal ones
    assert below(values, values, share) <= share


def test_samples_like_held_out_images_score_5_percent_within_the_range_of_chance():
    draw, scores = generator(0), []
    for _ in range(200):
        known, reference, second, fakes = (cloud(count, draw) for count in (200, 100, 100, 100))
        scores.append(score(fakes, known, reference, second))
    low, high = chance(100, 100)
    assert np.mean(scores) == pytest.approx(5 / 101, abs=0.007)
    assert 0.9 < np.mean([low <= each <= high for each in scores]) <= 1


@pytest.mark.parametrize("copied", [0.1, 0.5])
def test_a_few_copies_are_enough_to_leave_the_range_of_chance(copied):
    draw = generator(0)
    known, reference, second, fakes = (cloud(count, draw) for count in (2000, 500, 500, 500))
    fakes[: int(500 * copied)] = known[: int(500 * copied)]
    assert score(fakes, known, reference, second) > max(copied, chance(500, 500)[1])


def test_plain_samples_are_near_everything_and_yet_no_memory():
    draw = generator(0)
    known, reference, second, fakes = (cloud(count, draw) for count in (2000, 500, 500, 500))
    fakes = 0.3 * fakes
    by_distance = below(nearest(fakes, known).distances, nearest(second, known).distances)
    assert by_distance > 2 * chance(500, 500)[1] > 2 * score(fakes, known, reference, second)


def test_an_image_that_is_in_both_sets_is_no_copy():
    trained, unseen = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 2.0])
    assert relative(trained, unseen).tolist() == [1, 0, float("inf"), 0.5]


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_range_of_chance_holds_what_is_expected(fake, real):
    low, high = chance(fake, real)
    assert 0 <= low <= max(1, int(0.05 * (real + 1))) / (real + 1) <= high <= 1


# --- The search ---


@given(st.integers(1, 12), st.integers(1, 30), st.booleans(), seeds)
def test_comparing_in_parts_changes_nothing(part, total, flip, seed):
    images, queries = pictures(total, seed), pictures(7, seed + 1)
    whole, parts = found(queries, images, flip), found(queries, images, flip, part)
    torch.testing.assert_close(parts.distances, whole.distances)
    assert torch.equal(parts.indices, whole.indices)


@given(st.integers(1, 30), st.integers(1, 12), seeds)
def test_mirrored_copies_are_found_if_the_run_mirrors_images_and_only_then(total, part, seed):
    images = pictures(total, seed)
    distances, indices = found(images.flip(-1), images, True, part)
    assert distances.tolist() == [0] * total and indices.tolist() == list(range(total, 2 * total))
    assert (found(images.flip(-1), images, False, part).distances > 0).all()
    assert found(images, images, True, part).indices.tolist() == list(range(total))


@pytest.mark.parametrize("size, side", [(8, 8), (32, 32), (48, 48), (64, 32), (100, 33), (256, 32)])
def test_large_images_are_compared_as_small_ones(size, side):
    images = pictures(2, 0, size)
    assert pixels(images).shape == (2, 3 * side**2)
    torch.testing.assert_close(pixels(images // 200 * 0 + 51), torch.full((2, 3 * side**2), 0.2))


def test_the_sheet_shows_training_images_as_they_were_found():
    data = load_data("glyphs", "train", 32, 20)
    mirrored = data.images.flip(-1)
    indices = found(mirrored, data.images, True).indices
    assert torch.equal(originals(data, indices), mirrored)


def test_blurred_and_mirrored_copies_of_photographs_are_found_and_unseen_photographs_are_not(tiny_imagenet):
    classes = ("goldfish", "monarch", "pizza")
    known, valid = (
        load_data(str(tiny_imagenet), split, 64, count, classes).images
        for split, count in (("train", 300), ("valid", 150))
    )
    unseen, second, fakes = valid.split(50)
    blurred = F.interpolate(F.avg_pool2d(to_float(known[:50].flip(-1)), 4), scale_factor=4)
    sets = second, fakes, (255 * blurred).byte()
    real, new, copies = (
        relative(*(found(images, others, True).distances for others in (known, unseen))) for images in sets
    )
    low, high = chance(50, 50)
    assert low <= below(new, real) <= high and below(copies, real) == 1


# --- End to end ---


def measured(folder: Path, out: Path, *arguments: str) -> dict:
    few = ("--samples", "60", "--reference", "60", "--metrics", "memory", "--decoder", "gan")
    evaluate.main(["--run", str(folder), *few, "--json", str(out), *arguments])
    return json.loads(out.read_text("utf-8"))


@pytest.fixture
def planted(run_folder, monkeypatch):
    """Makes the run's GAN draw the given pictures, uint8 (B, 3, S, S), one after the other."""
    make = evaluation.make_sampler

    def plant(images: Tensor) -> None:
        rest = iter(to_float(images))
        draw = lambda labels, generator: torch.stack([next(rest) for _ in labels])
        monkeypatch.setattr(evaluation, "make_sampler", lambda *given: replace(make(*given), draw=draw))

    return plant


def test_a_model_that_copies_is_caught_and_shown(run_folder, tmp_path, planted, capsys):
    known = run_data(open_run(run_folder), "train", 64).images
    planted(known)
    result = measured(run_folder, tmp_path / "quality.json")
    assert [result["metrics"][f"memory_{space}"]["value"] for space in ("pixels", "features")] == [1, 1]
    assert result["memory"]["copies"] == {"pixels": 1, "features": 1} and result["memory"]["training"] == 64
    sheet, printed = run_folder / "evaluation/gan-memory.png", capsys.readouterr().out
    assert f"{sheet}: samples beside training images" in printed and "60 generated images" in printed
    pitch, pixels = CELL + GAP, np.array(Image.open(sheet))[:-MARGIN, -MARGIN - 8 * (CELL + GAP) : -MARGIN]
    rows = [pixels[len(pixels) + GAP - (8 - i) * pitch :][:CELL] for i in range(8)]
    assert (rows[0] == rows[1]).all() and (rows[4] == rows[5]).all()  # samples above themselves
    assert (rows[2] != rows[3]).any() and (rows[6] != rows[7]).any()  # held-out images above others


def test_a_model_that_draws_like_the_held_out_images_is_not(run_folder, tmp_path, planted):
    planted(load_data("glyphs", "valid", 32, 60, seed=7).images)
    result = measured(run_folder, tmp_path / "quality.json")
    low, high = result["memory"]["chance"]
    for space in ("pixels", "features"):
        score = result["metrics"][f"memory_{space}"]
        assert low <= score["value"] <= high and score["real"] == pytest.approx(3 / 61)
