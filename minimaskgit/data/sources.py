"""Images with class labels: drawn glyphs, Tiny ImageNet, or any image data set that `datasets` can open.

Every lesson takes its images from here; lesson 9 uses real photographs (the paper ImageNet, section 4).

    "glyphs" ─────> drawn ──────────────────────────────────────────────────┐
    hub id ───────┐                                                         v
    parquet files ┼─> tables ─> rows of a split, shuffled ─> decoded ─> ImageData
    image folder ─┘                                                     images uint8 (N, 3, S, S)
                                                                        labels int64 (N,)
"""

import difflib
import glob
import json
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.data.glyphs import GLYPH_NAMES, glyphs
from minimaskgit.data.images import ImageData, square

TINY_IMAGENET = "zh-plus/tiny-imagenet"
VALID_NAMES = ("valid", "validation", "val", "test")  # names of validation splits, preferred first
SPLIT_NAMES = ("train", *VALID_NAMES)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MEMORY_LIMIT = 4 * 2**30  # bytes of decoded pixels

logger = logging.getLogger(__name__)


def load_data(
    source: str,
    split: str = "train",
    image_size: int = 32,
    num_images: int | None = None,
    classes: Sequence[str] = (),
    image_column: str = "image",
    label_column: str = "label",
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Load the "train" or "valid" split of `source`, shuffled by `seed`; UserError if it cannot be loaded.

    `source` is "glyphs", a folder or glob of parquet files, a folder of images as CLASS/x.png (optionally inside
    train/ and valid/), or the id of a data set on the hub. The split of a parquet file is read from its name, as in
    train-0.parquet or valid/0.parquet; files that name no split are used only if no file names one. If there is no
    validation split, a tenth of the rows is held out for it. If the data has a file classes.json beside it, as Tiny
    ImageNet does, WordNet ids are replaced by their English names.

    `classes` are names, ids or numbers, which become labels 0, 1, ... in that order; () means all. At most
    `num_images` are loaded, balanced between the classes; a smaller number loads the first ones of a larger. Images
    are resized to `image_size` pixels along the shorter side and cropped at the centre. If they take more than
    `memory_limit` bytes of pixels, they are decoded on demand.
    """
    least = {"image_size": (image_size, 1), "num_images": (num_images, 1), "seed": (seed, 0)}
    for name, (value, bound) in least.items():
        if value is not None and value < bound:
            raise UserError(f"{name} {value}: expected {bound} or more")
    if split not in ("train", "valid"):
        raise UserError(f"split {split!r}: expected 'train' or 'valid'")
    if source == "glyphs":
        return _draw(split, image_size, num_images, classes, seed)

    tables = _open(source)
    table, rows = _rows_of(split, tables, source)
    for column in (image_column, label_column):
        if column not in table.column_names:
            raise UserError(f"{source}: no column {column!r}; it has {', '.join(table.column_names)}")
    labels, ids = _read_labels(table, tables.get("train", table), label_column, source)
    names = _english_names(ids, source)
    chosen = find_classes(classes, names, ids)
    labels = _renumbering(chosen, len(names))[labels]  # -1: not a chosen class
    rows = balanced_shuffle(rows[labels[rows] >= 0], labels, seed)[:num_images]
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no images of {', '.join(classes) or 'any class'}")

    read = partial(_read, _image_column(table, image_column, source), rows, image_size, source)
    data = ImageData([names[i] for i in chosen], image_size, torch.from_numpy(labels[rows]), read=read)
    return data if len(data) * 3 * image_size**2 > memory_limit else _decode_all(data)


def find_classes(wanted: Sequence[str], names: Sequence[str], ids: Sequence[str] = ()) -> list[int]:
    """Numbers of the `wanted` classes, given by name, id or number, in upper or lower case; () means all classes.

    UserError for an unknown class, with similar names.
    """
    numbers: dict[str, int] = {}  # a name wins over an id, an id over a number
    for keys in (names, ids, map(str, range(len(names)))):
        for number, key in enumerate(keys):
            numbers.setdefault(key, number)
    folded = {key.casefold(): number for key, number in reversed(numbers.items())}  # the first wins
    for given in wanted:
        key = given.casefold()
        if key not in folded:
            near = [other for other in folded if key in other] + difflib.get_close_matches(key, folded, n=5)
            near = list(dict.fromkeys(names[folded[other]] for other in near))
            hint = f"did you mean {', '.join(near[:5])}?" if near else f"they are {', '.join(names[:10])}"
            more = ", ..." if not near and len(names) > 10 else ""
            raise UserError(f"no class {given!r} among the {len(names)}; {hint}{more}")
    found = [numbers.get(given, folded[given.casefold()]) for given in wanted]
    return list(dict.fromkeys(found)) or list(range(len(names)))


def _renumbering(chosen: Sequence[int], num_classes: int) -> np.ndarray:
    """The new label of each class, its index in `chosen` or -1: int64 (num_classes,)."""
    new = np.full(num_classes, -1)
    new[chosen] = np.arange(len(chosen))
    return new


# ---- Drawing glyphs ----


def _draw(split: str, size: int, num_images: int | None, classes: Sequence[str], seed: int) -> ImageData:
    chosen = find_classes(classes, GLYPH_NAMES)
    renumbering = torch.from_numpy(_renumbering(chosen, len(GLYPH_NAMES)))
    stream = 2 * seed + (split == "valid")  # even streams are training sets, odd ones validation sets
    count = num_images or (20_000 if split == "train" else 2_000) * len(chosen) // len(GLYPH_NAMES)
    drawn = count
    while True:  # labels are random, so draw more until `count` pictures are of the chosen classes
        images, labels = glyphs(drawn, stream, size)
        labels = renumbering[labels]
        keep = (labels >= 0).nonzero()[:count, 0]
        if len(keep) == count:
            return ImageData([GLYPH_NAMES[i] for i in chosen], size, labels[keep], images[keep])
        drawn = max(drawn + 100, int(1.05 * drawn * count / max(1, len(keep))))


# ---- Opening a source: every kind becomes tables (datasets.Dataset) by split ----


def _open(source: str) -> dict[str, datasets.Dataset]:
    path = Path(source).expanduser()
    if path.is_dir() and source:  # Path("") is the current folder, which was hardly meant
        names = {str(file): str(file.relative_to(path)) for file in sorted(path.rglob("*.parquet"))}
        return _open_parquet(names, source) if names else _open_folder(path)
    files = [str(path)] if path.is_file() else sorted(glob.glob(os.path.expanduser(source), recursive=True))
    if files and all(file.endswith(".parquet") for file in files):
        return _open_parquet({file: Path(file).name for file in files}, source)
    if files:
        raise UserError(f"{source}: expected a folder, .parquet files or a hub id, found {files[0]}")
    if source.endswith(".parquet") or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise UserError(f"{source!r}: no such file or folder")
    return _open_hub(source)


def _open_parquet(names: dict[str, str], source: str) -> dict[str, datasets.Dataset]:
    """Tables by split, from {path: name that may contain a split}; `datasets` memory-maps a copy in its cache."""
    by_split: dict[str, list[str]] = {}
    for path, name in names.items():
        split = re.search(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])", name.lower())
        by_split.setdefault(split[1] if split else "other", []).append(glob.escape(path))
    try:
        return dict(datasets.load_dataset("parquet", data_files=by_split))
    except Exception as error:  # pyarrow's errors, or those of datasets that wrap them
        reason = _first_line(error.__cause__ or error)
        raise UserError(f"{source}: not readable as parquet files of one schema ({reason})") from error


def _open_folder(root: Path) -> dict[str, datasets.Dataset]:
    """Tables by split of the paths ROOT/[SPLIT/]CLASS/**/x.png.

    Files are listed here because `load_dataset("imagefolder")` mistakes a class "train" or a file cat/val_1.png for a
    split.
    """
    splits = {name: root / name for name in SPLIT_NAMES if any((root / name).glob("*/"))} or {"other": root}
    tables = {}
    for split, folder in splits.items():
        files = sorted(file for file in folder.glob("*/**/*") if file.suffix.lower() in IMAGE_SUFFIXES)
        files = [file for file in files if not file.name.startswith(".")]  # hidden files that other systems add
        labels = [file.relative_to(folder).parts[0] for file in files]
        if set(labels) <= set(SPLIT_NAMES):  # no files, or only train/x.png
            raise UserError(f"{folder}: expected parquet files, or images like {folder}/cat/1.png")
        features = datasets.Features(image=datasets.Image(decode=False), label=datasets.Value("string"))
        columns = {"image": [str(file) for file in files], "label": labels}
        tables[split] = datasets.Dataset.from_dict(columns, features)
    return tables


def _open_hub(source: str) -> dict[str, datasets.Dataset]:
    offline, unreachable = datasets.config.HF_HUB_OFFLINE, None
    try:  # a quick request first, because load_dataset retries for half a minute without network
        HfApi().dataset_info(source, timeout=5)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{source!r}: no such file or folder, and no such data set on the hub") from error
    except Exception as error:  # a missing network shows in many ways; a cached copy may still do
        unreachable = error
    try:
        datasets.config.HF_HUB_OFFLINE = offline or unreachable is not None
        return dict(datasets.load_dataset(source))
    except Exception as error:
        if unreachable is None:
            raise UserError(f"{source!r}: found on the hub, but it cannot be loaded: {_first_line(error)}") from error
        raise UserError(
            f"{source!r}: no such file or folder, and the hub cannot be reached ({_first_line(unreachable)}); "
            "download the data set on a machine with network and pass its folder with --data"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


# ---- Choosing rows ----


def _rows_of(split: str, tables: dict[str, datasets.Dataset], source: str) -> tuple[datasets.Dataset, np.ndarray]:
    """The table that contains a split, and the numbers of the rows that belong to the split, int64 (N,)."""
    valid = next((tables[name] for name in VALID_NAMES if name in tables), None)
    if "train" in tables and valid is not None:
        table = tables["train"] if split == "train" else valid
        return table, np.arange(len(table))
    if "train" not in tables and len(tables) > 1:
        raise UserError(f"{source}: expected a split 'train', found {', '.join(tables)}")
    table = tables.get("train", next(iter(tables.values())))
    shuffled = np.random.default_rng(0).permutation(len(table))  # the same rows are held out for every seed
    held_out = max(1, len(table) // 10)
    return table, shuffled[held_out:] if split == "train" else shuffled[:held_out]


def _read_labels(
    table: datasets.Dataset, train: datasets.Dataset, column: str, source: str
) -> tuple[np.ndarray, list[str]]:
    """Class numbers of all rows of `table`, int64 (N,), and the class names of `train`."""
    values = table.with_format("arrow").select_columns(column)[:].column(0)
    present, trained = set(values.unique().to_pylist()), set(train.unique(column))
    feature = table.features[column]
    is_number = isinstance(feature, datasets.ClassLabel)
    if None in present | trained or (is_number and -1 in present):  # unlabelled splits on the hub have -1
        raise UserError(f"{source}: column {column!r} has rows without a label; expected one in every row")
    if is_number:
        return values.to_numpy().astype(np.int64), feature.names
    if not re.match("u?int|string|large_string|bool", getattr(feature, "dtype", "")):
        raise UserError(f"{source}: column {column!r} holds {feature}; expected class numbers or names")
    number = {value: i for i, value in enumerate(sorted(trained))}
    if unknown := present - trained:
        raise UserError(f"{source}: the validation split has a class {unknown.pop()} that the training split lacks")
    return np.array([number[value] for value in values.to_pylist()]), [str(value) for value in number]


def _english_names(ids: list[str], source: str) -> list[str]:
    path = Path(source).expanduser()
    path = (path if path.is_dir() else path.parent) / "classes.json"
    try:
        words = {entry["wnid"]: entry["words"].split(",")[0] for entry in json.loads(path.read_text("utf-8"))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such file, or one of another format
        return ids
    return [words.get(id, id) for id in ids]


def balanced_shuffle(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle row numbers so that every prefix is balanced: the k-th of each class comes before any (k+1)-th."""
    rows = np.random.default_rng(seed).permutation(rows)
    by_class = np.argsort(labels[rows], kind="stable")
    counts = np.bincount(labels[rows])
    rank = np.empty_like(rows)  # of each row among the rows of its class
    rank[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[np.argsort(rank, kind="stable")]


# ---- Decoding ----


def _image_column(table: datasets.Dataset, column: str, source: str) -> datasets.Dataset:
    """The image column as {"bytes", "path"}, still encoded, so that we can handle broken images ourselves."""
    try:
        return table.select_columns(column).cast_column(column, datasets.Image(decode=False))
    except Exception as error:
        raise UserError(f"{source}: column {column!r} holds {table.features[column]}, not images") from error


def _read(images: datasets.Dataset, rows: np.ndarray, size: int, source: str, index: int) -> Tensor:
    """Image number `index` of the chosen rows, uint8 (3, S, S); UserError if it is broken."""
    (record,) = images[int(rows[index])].values()
    try:
        with Image.open(BytesIO(record["bytes"]) if record["bytes"] else record["path"]) as image:
            return torch.from_numpy(square(image, size))
    except Exception as error:  # Pillow raises a dozen kinds of errors for broken files
        path = f" ({record['path']})" if record and record["path"] else ""
        raise UserError(f"{source}: broken image in row {rows[index]}{path}: {_first_line(error)}") from error


def _decode_all(data: ImageData, chunk: int = 64) -> ImageData:
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


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r" <.*>", "", line)  # without the address of an object
