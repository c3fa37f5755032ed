"""Parquet files, local or on the hub, as tables with an image and a label column; `datasets` reads them.

train-0.parquet, valid/0.parquet, ... ──the files of each split──> datasets.load_dataset ──> Found
hub id ──────────────────────────────────────────────────────────────────────────────────────┘
"""

import errno
import glob
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path, PurePath

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.data.columns import check_columns, label_dtype
from minimaskgit.data.labels import has_labels
from minimaskgit.data.splits import NO_SPLIT, Found, chosen_splits, counted, split_name

BATCH = 1000  # rows copied at a time: a file may be a single group of rows, larger than memory
NO_CACHE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}

# ---- Local files ----


def parquet_files(folder: Path) -> dict[str, str]:
    """The parquet files in a folder, as {path: path below the folder}; {} if all of them are hidden."""
    found = sorted(path for path in _files(folder) if path.suffix.lower() == ".parquet")
    names = {str(path): str(path.relative_to(folder)) for path in found}
    return {} if all(map(is_hidden, names.values())) else names


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; links are followed, but not in circles nor to a folder that contains this one."""
    walked = {str(parent) for parent in folder.resolve().parents}
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in walked:
            folders.clear()
            continue
        walked.add(real)
        yield from (Path(place, name) for name in names)


def is_hidden(name: str) -> bool:
    """Whether a file or a folder above it is hidden, such as the ._train.parquet that a Mac adds."""
    return any(part.startswith(".") for part in PurePath(name).parts)


def open_parquet(names: dict[str, str], source: str, image: str, label: str) -> Found:
    """Tables of local files, from {path: name that may contain a split}; `datasets` memory-maps a copy in its cache.

    Only the files of the splits that are used are opened, and only two of their columns. The file classes.json beside
    them, as Tiny ImageNet has it, gives the English names of WordNet ids.
    """
    visible = {path: name for path, name in names.items() if not is_hidden(name)} or names
    notes = [f"{counted(len(names) - len(visible), 'file')} not used: hidden"] if len(visible) < len(names) else []
    by_split: dict[str, dict[str, str]] = {}
    for path, name in visible.items():
        by_split.setdefault(split_name(name), {})[path] = name
    chosen = chosen_splits(by_split, source)
    places = {split: _place(list(files.values())) for split, files in by_split.items()}
    if chosen.get("valid") == "test" and not _any_labels(by_split["test"], label):
        del chosen["valid"]
        notes.append(f"{places.pop('test')} is not used: it has no labels")
    for split in places.keys() - set(chosen.values()):
        notes.append(f"{places[split]} is not used{': no split in its name' if split == NO_SPLIT else ''}")
    tables = {split: _copied(name, by_split[name], source, image, label) for split, name in chosen.items()}
    folders = {split: places[name] for split, name in chosen.items()}
    return Found(tables, folders, english_names(source), sorted(notes))


def _copied(split: str, files: dict[str, str], source: str, image: str, label: str) -> datasets.Dataset:
    """The two columns of a split's files as one table, which lies in the cache of `datasets`."""
    features = _features(files, source, image, label)
    try:
        return datasets.load_dataset(
            "parquet",
            data_files={split: [glob.escape(path) for path in files]},
            split=split,
            columns=list(features),
            features=features,
            batch_size=BATCH,
        )
    except Exception as error:  # pyarrow's errors, or those of datasets that wrap them
        for path in files:
            deque(_batches(path, list(features)), maxlen=0)  # names a damaged file
        raise _cache_error(source, error) from error


def _features(files: dict[str, str], source: str, image: str, label: str) -> datasets.Features:
    """The types of the two columns that all files of a split have in common; UserError if there are none."""
    opened = {name: _opened(path) for path, name in files.items()}
    first, common, names = next(iter(opened)), "null", None
    for name, (schema, _) in opened.items():
        missing = next((column for column in (image, label) if column not in schema.names), None)
        if missing and missing in opened[first][0].names:
            raise _mixed(source, f"{name} has no column {missing!r}, {first} has")
        check_columns(schema, image, label, source if len(files) == 1 else f"{source}: {name}")
        dtype, own = label_dtype(schema.field(label).type), _class_names(schema, label)
        joined = _joined(common, dtype)
        if joined is None:
            raise _mixed(source, f"column {label!r} holds {common} in {first}, and {dtype} in {name}")
        if names and own and names != own:
            here, there = next(pair for pair in zip_longest(names, own) if pair[0] != pair[1])
            raise _mixed(source, f"the same number in {label!r} is {here!r} in {first}, and {there!r} in {name}")
        common, names = joined, names or own
    if not any(rows for _, rows in opened.values()):
        raise UserError(f"{source}: {_place(list(opened))} has no rows; expected at least one image")
    plain = all(not pa.types.is_struct(schema.field(image).type) for schema, _ in opened.values())
    numbers = common in ("int64", "uint64", "float64")
    return datasets.Features(
        {
            image: datasets.Value("binary") if plain else datasets.Image(decode=False),
            label: datasets.ClassLabel(names=names) if names and numbers else datasets.Value(common),
        }
    )


def _joined(one: str, other: str) -> str | None:
    """The type that holds the labels of two types; None if they are as different as numbers and names."""
    schemas = [pa.schema([("label", pa.type_for_alias(name))]) for name in (one, other)]
    try:
        return label_dtype(pa.unify_schemas(schemas, promote_options="permissive").field(0).type)
    except pa.ArrowTypeError:
        return None


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """The names that `datasets` has written into a file for its class numbers."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return stored["names"] if stored["_type"] == "ClassLabel" else None
    except (ValueError, LookupError, TypeError):  # not written by `datasets`
        return None


def _any_labels(files: dict[str, str], label: str) -> bool:
    batches = (batch for path in files if label in _opened(path)[0].names for batch in _batches(path, [label]))
    return any(has_labels(pa.chunked_array([batch.column(0)])) for batch in batches)


def _mixed(source: str, difference: str) -> UserError:
    return UserError(f"{source}: not readable as parquet files of one schema: {difference}; rewrite one of the two")


def _place(names: list[str]) -> str:
    """What a user calls these files: train-*.parquet (5 files)."""
    if len(names) == 1:
        return names[0]
    start = os.path.commonprefix(names).rstrip("0123456789")  # noqa: RUF071 letters, not folders
    return f"{start}*.parquet ({counted(len(names), 'file')})"


# ---- Files and folders that fail ----


def _opened(path: str) -> tuple[pa.Schema, int]:
    """A file's columns and its number of rows; UserError if it is not a whole parquet file."""
    try:
        with open(path, "rb") as file:
            opened = pq.ParquetFile(file)
            return opened.schema_arrow, opened.metadata.num_rows
    except Exception as error:
        raise UserError(f"{path}: {_reason(path, error)}") from error


def _batches(path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file; UserError if its data are damaged."""
    try:
        with open(path, "rb") as file:
            yield from pq.ParquetFile(file).iter_batches(BATCH, columns=columns)
    except Exception as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); copy or download it again") from error


def _reason(path: str, error: Exception) -> str:
    """Why a file cannot be opened as parquet, and what to do."""
    try:
        with open(path, "rb") as file:
            start = file.read(40)
            file.seek(max(4, os.path.getsize(path) - 4))
            end = file.read()
    except OSError as problem:
        return f"cannot be read ({problem.strerror}); check the file and its permissions"
    if not start:
        return "an empty file; copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file; run `git lfs pull` in its folder"
    if start.startswith(b"PAR1") and end != b"PAR1":
        return "the end of this parquet file is missing; copy or download it again"
    known = first_line(error) if start.startswith(b"PAR") else f"it begins with {start[:20]!r}"
    return f"not readable as parquet ({known}); delete it, or copy or download it again"


def _cache_error(source: str, error: Exception) -> UserError:
    """What stopped `datasets` from copying whole files to its cache."""
    causes = list(_causes(error))
    if problem := next((cause for cause in causes if isinstance(cause, OSError)), None):
        cache = datasets.config.HF_DATASETS_CACHE
        return UserError(
            f"{source}: cannot be copied to the cache {cache} ({first_line(problem)}); "
            "make room there, or set HF_HOME to a folder that you can write to"
        )
    return UserError(f"{source}: cannot be loaded ({first_line(causes[-1])})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# ---- The hub ----


def open_hub(source: str, label: str) -> Found:
    """Tables of a data set on the hub, or of its copy in the cache if the hub cannot be reached."""
    offline, unreachable = datasets.config.HF_HUB_OFFLINE, _unreachable(source)
    try:
        datasets.config.HF_HUB_OFFLINE = offline or unreachable is not None
        tables = datasets.load_dataset(source)
    except Exception as error:
        if unreachable is None:
            raise _hub_error(source, error) from error
        raise UserError(
            f"{source!r}: no such file or folder, and the hub cannot be reached ({first_line(unreachable)}); "
            "download the data set on a machine with network and pass its folder with --data"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    chosen, notes = chosen_splits(tables, source), []
    if chosen.get("valid") == "test":
        test = tables["test"]
        if label not in test.column_names or not has_labels(test.data.column(label)):
            del chosen["valid"]
            notes.append("the split test is not used: it has no labels")
    unused = [name for name in tables if name not in chosen.values() and (name != "test" or not notes)]
    notes += [f"the split {name} is not used" for name in unused]
    folders = {split: f"the split {name}" for split, name in chosen.items()}
    return Found({split: tables[name] for split, name in chosen.items()}, folders, notes=notes)


def _unreachable(source: str) -> Exception | None:
    """What keeps us from the hub, found by a quick request, because load_dataset retries for half a minute."""
    try:
        HfApi().dataset_info(source, timeout=5)
    except GatedRepoError as error:
        raise _hub_error(source, error) from error
    except (RepositoryNotFoundError, HFValidationError) as error:  # the hub says the same of private ones
        hint = "if it is private, run `hf auth login` first"
        raise UserError(f"{source!r}: no such file or folder, and no such data set on the hub; {hint}") from error
    except Exception as error:  # a missing network shows in many ways; a cached copy may still do
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise UserError(f"{source!r}: the hub refuses ({first_line(error)}); run `hf auth login`") from error
        return error
    return None


def _hub_error(source: str, error: Exception) -> UserError:
    """Why a data set that the hub has cannot be loaded, and what to do."""
    if any(isinstance(cause, GatedRepoError) or "gated dataset" in str(cause) for cause in _causes(error)):
        return UserError(f"{source!r}: needs its owner's consent; ask for it on its page, then run `hf auth login`")
    system = [cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno in NO_CACHE]
    if system:
        return _cache_error(source, system[0])
    reason, *more = str(error).splitlines() or [first_line(error)]
    if reason.startswith("Config name"):  # the second line names those to choose from
        reason = f"{' '.join([reason, *more[:1]])} (minimaskgit has no option for it)"
    return UserError(
        f"{source!r}: found on the hub, but it cannot be loaded: {reason}; "
        "download the parquet files that you want and pass their folder with --data"
    )


# ---- Names of classes ----


def english_names(source: str) -> dict[str, str]:
    """The first English name of each WordNet id in the classes.json beside the files; {} if there is no such file."""
    path = Path(source).expanduser()
    path = (path if path.is_dir() else path.parent) / "classes.json"
    try:
        return {entry["wnid"]: entry["words"].split(",")[0] for entry in json.loads(path.read_text("utf-8"))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such file, or one of another format
        return {}
