"""Reading encoded images: one at a time on demand, or all of them at once, leaving out broken ones.

table with an image column ──find_white──> White
           │                                │
           └──────────read_image────────────┴──> uint8 (3, S, S)        ──decode_all──> ImageData in memory
"""

import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.data.images import ImageData, square
from minimaskgit.data.pixels import Peak, White, peak, white_notes, white_of
from minimaskgit.data.tree import as_path

logger = logging.getLogger(__name__)

LOOKED_AT = 4096  # pictures decoded to find which value is white
CHUNK = 64  # images that one process or thread decodes at a time
MANY = 300  # chunks that are worth starting processes for
SHALLOW_NAMES = r"(?i)\.(jpe?g|jfif|gif|webp|bmp)$"  # files that never have more than 8 bits are not even opened,
SHALLOW_STARTS = (b"\xff\xd8", b"GIF8", b"RIFF", b"BM")  # nor looked into


def encoded_images(table: datasets.Dataset, column: str, source: str) -> datasets.Dataset:
    """The image column as {"bytes", "path"}, still encoded, so that we can handle broken images ourselves."""
    try:
        return table.select_columns(column).cast_column(column, datasets.Image(decode=False))
    except Exception as error:
        raise UserError(f"{source}: column {column!r} holds {table.features[column]}, not images") from error


def read_image(images: datasets.Dataset, rows: np.ndarray, size: int, source: str, white: White, index: int) -> Tensor:
    """Image number `index` of the chosen rows, uint8 (3, S, S); UserError if it is broken or does not fit `white`."""
    (record,) = images[int(rows[index])].values()
    try:
        with _opened(record) as image:
            return torch.from_numpy(square(image, size, white))
    except Exception as error:  # Pillow raises a dozen kinds of errors for broken files
        path = f" ({record['path']})" if record and record["path"] else ""
        raise UserError(f"{source}: broken image in row {rows[index]}{path}: {first_line(error)}") from error


def _opened(record: dict) -> Image.Image:
    return Image.open(BytesIO(record["bytes"]) if record["bytes"] else as_path(record["path"]))


def find_white(images: datasets.Dataset) -> tuple[White, list[str]]:
    """Which value is white in the deep pictures of a whole data set, and a line on each kind of them.

    Only pictures whose name or first bytes allow more than 8 bits are opened, at most LOOKED_AT, evenly spaced.
    """
    rows = _maybe_deep(images)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).round().astype(int)]

    def look(row: int) -> Peak | None:
        try:
            (record,) = images[int(row)].values()
            with _opened(record) as image:
                return peak(image)
        except Exception:  # broken pictures are reported when they are read
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        peaks = list(pool.map(look, chosen))
    white = white_of(peaks)
    some = f" ({len(chosen)} of {len(rows)} were examined)" if len(chosen) < len(rows) else ""
    return white, [note + some for note in white_notes(peaks, white)]


def _maybe_deep(images: datasets.Dataset) -> np.ndarray:
    """The rows of pictures that may have more than 8 bits, by name and first bytes: int64 (N,), in order."""
    found, start = [], 0
    for batch in images.with_format("arrow").iter(256):
        (column,) = batch.columns
        names, contents = (pc.struct_field(column, name) for name in ("path", "bytes"))
        unknown = pc.invert(pc.fill_null(pc.match_substring_regex(names, SHALLOW_NAMES), False))
        if pc.any(unknown).as_py():
            starts = pc.binary_slice(contents, 0, 26)  # reads no more than that of a memory-mapped file
            rows = zip(starts.filter(unknown).to_pylist(), names.filter(unknown).to_pylist())
            deep = [_deep_start(_start(content, name)) for content, name in rows]
            found += (start + np.flatnonzero(unknown)[deep]).tolist()
        start += len(column)
    return np.array(found, np.int64)


def _start(content: bytes | None, path: str | None) -> bytes:
    if content or path is None:
        return content or b""
    try:
        with open(as_path(path), "rb") as file:
            return file.read(26)
    except OSError:
        return b""


def _deep_start(start: bytes) -> bool:
    """Whether a file that starts like this may have more than 8 bits."""
    if start.startswith(b"\x89PNG"):
        return start[24:25] == b"\x10"
    return bool(start) and not start.startswith(SHALLOW_STARTS)


class Chunks(Dataset):
    """The images of a data set, decoded in chunks, and why those that are missing are broken."""

    def __init__(self, data: ImageData):
        self.read, self.parts = data.read, torch.arange(len(data)).split(CHUNK)
        self.shape = 3, data.image_size, data.image_size

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> tuple[Tensor, dict[int, str]]:
        """Images uint8 (CHUNK, 3, S, S), the last chunk's fewer, and the reasons by index in the data set."""
        indices, broken = self.parts[number].tolist(), {}
        images = torch.zeros(len(indices), *self.shape, dtype=torch.uint8)
        for place, index in enumerate(indices):
            try:
                images[place] = self.read(index)
            except UserError as error:
                broken[index] = str(error)
        return images, broken


def decoded(chunks: Chunks) -> Iterator[tuple[Tensor, dict[int, str]]]:
    """All chunks in order, decoded in parallel: many of them in processes, since Pillow often holds Python's lock.

    Starting processes is quick only where they can be forked; elsewhere, and for few images, threads do the work.
    """
    if len(chunks) >= MANY and sys.platform == "linux":
        how = {"num_workers": len(os.sched_getaffinity(0)), "multiprocessing_context": "fork"}
        for images, broken in DataLoader(chunks, batch_size=None, collate_fn=_as_array, **how):
            yield torch.from_numpy(images), broken
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(chunks.__getitem__, range(len(chunks)))


def _as_array(chunk: tuple[Tensor, dict[int, str]]) -> tuple[np.ndarray, dict[int, str]]:
    """An array leaves a process by a pipe; a tensor by shared memory, of which containers have little."""
    images, broken = chunk
    return images.numpy(), broken


def decode_all(data: ImageData) -> ImageData:
    """Decode every image once and leave out broken ones."""
    seen, done, broken = 0, 0, {}
    images = torch.empty(len(data), 3, data.image_size, data.image_size, dtype=torch.uint8)
    with tqdm(total=len(data), desc="decoding", delay=2) as bar:
        for part, reasons in decoded(Chunks(data)):
            good = [place for place in range(len(part)) if seen + place not in reasons]
            images[done : done + len(good)] = part[good]
            seen, done = seen + len(part), done + len(good)
            broken |= reasons
            bar.update(len(part))
    if broken:
        reasons = "; ".join(broken[index] for index in sorted(broken)[:3]) + "; ..." * (len(broken) > 3)
        if len(broken) == len(data):
            raise UserError(f"all {len(broken)} images are broken: {reasons}")
        good = [index for index in range(len(data)) if index not in broken]
        gone = sorted(set(data.labels.tolist()) - set(data.labels[good].tolist()))
        emptied = f"; no image is left of {', '.join(data.label_names[label] for label in gone)}" if gone else ""
        logger.warning("skipped %d broken images of %d%s: %s", len(broken), len(data), emptied, reasons)
        images, data.labels = images[:done], data.labels[good]
    data.images, data.read, data.skipped = images, None, len(broken)
    return data
