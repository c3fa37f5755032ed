"""Reading encoded images: one at a time on demand, or all of them at once, leaving out broken ones.

table with an image column ──read_image──> uint8 (3, S, S)        ──decode_all──> ImageData in memory
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import datasets
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.data.images import ImageData, square
from minimaskgit.data.tree import as_path

logger = logging.getLogger(__name__)


def encoded_images(table: datasets.Dataset, column: str, source: str) -> datasets.Dataset:
    """The image column as {"bytes", "path"}, still encoded, so that we can handle broken images ourselves."""
    try:
        return table.select_columns(column).cast_column(column, datasets.Image(decode=False))
    except Exception as error:
        raise UserError(f"{source}: column {column!r} holds {table.features[column]}, not images") from error


def read_image(images: datasets.Dataset, rows: np.ndarray, size: int, source: str, index: int) -> Tensor:
    """Image number `index` of the chosen rows, uint8 (3, S, S); UserError if it is broken."""
    (record,) = images[int(rows[index])].values()
    try:
        with Image.open(BytesIO(record["bytes"]) if record["bytes"] else as_path(record["path"])) as image:
            return torch.from_numpy(square(image, size))
    except Exception as error:  # Pillow raises a dozen kinds of errors for broken files
        path = f" ({record['path']})" if record and record["path"] else ""
        raise UserError(f"{source}: broken image in row {rows[index]}{path}: {first_line(error)}") from error


def decode_all(data: ImageData, chunk: int = 64) -> ImageData:
    """Decode every image once and leave out broken ones; in threads, because Pillow releases Python's lock."""
    images = torch.empty(len(data), 3, data.image_size, data.image_size, dtype=torch.uint8)
    broken: dict[int, str] = {}

    def decode(indices: range) -> int:
        for index in indices:
            try:
                images[index] = data.read(index)
            except UserError as error:
                broken[index] = str(error)
        return len(indices)

    everything = range(len(data))
    chunks = [everything[start : start + chunk] for start in everything[::chunk]]
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(data), desc="decoding", delay=2) as bar:
        for count in pool.map(decode, chunks):
            bar.update(count)
    if broken:
        reasons = "; ".join(broken[index] for index in sorted(broken)[:3]) + "; ..." * (len(broken) > 3)
        if len(broken) == len(data):
            raise UserError(f"all {len(broken)} images are broken: {reasons}")
        logger.warning("skipped %d broken images of %d: %s", len(broken), len(data), reasons)
        good = [index for index in everything if index not in broken]
        images, data.labels = images[good], data.labels[good]
    data.images, data.read, data.skipped = images, None, len(broken)
    return data
