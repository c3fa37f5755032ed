"""Image files and data sets of them, written for tests."""

from io import BytesIO
from pathlib import Path

import datasets
import pytest
from PIL import Image

from minimaskgit.data.images import ImageData

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def png(colour=(250, 0, 0), size=(16, 16), mode="RGB", form="PNG", **options) -> bytes:
    file = BytesIO()
    Image.new(mode, size, colour).save(file, form, **options)
    return file.getvalue()


def numbered(count: int) -> list[bytes]:
    """Distinguishable images: image i is grey of level i."""
    return [png((i, i, i)) for i in range(count)]


def numbers(data: ImageData) -> list[int]:
    return data.images[:, 0, 0, 0].tolist()


def write_parquet(path: Path, images: list, labels: list, names: list[str] | None = None) -> str:
    """Write a file like those on the hub (an Image and a ClassLabel column), or with plain labels without `names`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [{"bytes": image, "path": None} for image in images]
    table = datasets.Dataset.from_dict({"image": records, "label": labels})
    table = table.cast_column("image", datasets.Image(decode=False))
    if names:
        table = table.cast_column("label", datasets.ClassLabel(names=names))
    table.to_parquet(path)
    return str(path)


def write_folder(root: Path, count: int = 3, names: tuple[str, ...] = ("cat", "dog", "owl")) -> str:
    for name, colour in zip(names, COLOURS):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"test_{i}.PNG").write_bytes(png(colour))
    return str(root)


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)
