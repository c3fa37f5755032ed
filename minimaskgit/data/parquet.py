"""Parquet files, local or on the hub, as tables with an image and a label column; `datasets` reads them.

train-0.parquet, valid/0.parquet, ... ──split of each name──> datasets.load_dataset ──> Found
hub id ──────────────────────────────────────────────────────────────────────────────────┘
"""

import glob
import json
from pathlib import Path

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.data.splits import Found, chosen_splits, split_name


def open_parquet(names: dict[str, str], source: str) -> Found:
    """Tables of local files, from {path: name that may contain a split}; `datasets` memory-maps a copy in its cache.

    The file classes.json beside the files, as Tiny ImageNet has it, gives the English names of WordNet ids.
    """
    by_split: dict[str, list[str]] = {}
    for path, name in names.items():
        by_split.setdefault(split_name(name), []).append(glob.escape(path))
    try:
        tables = datasets.load_dataset("parquet", data_files=by_split)
    except Exception as error:  # pyarrow's errors, or those of datasets that wrap them
        reason = first_line(error.__cause__ or error)
        raise UserError(f"{source}: not readable as parquet files of one schema ({reason})") from error
    chosen = chosen_splits(tables, source)
    return Found({split: tables[name] for split, name in chosen.items()}, names=english_names(source))


def open_hub(source: str) -> Found:
    """Tables of a data set on the hub, or of its copy in the cache if the hub cannot be reached."""
    offline, unreachable = datasets.config.HF_HUB_OFFLINE, None
    try:  # a quick request first, because load_dataset retries for half a minute without network
        HfApi().dataset_info(source, timeout=5)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{source!r}: no such file or folder, and no such data set on the hub") from error
    except Exception as error:  # a missing network shows in many ways; a cached copy may still do
        unreachable = error
    try:
        datasets.config.HF_HUB_OFFLINE = offline or unreachable is not None
        tables = datasets.load_dataset(source)
    except Exception as error:
        if unreachable is None:
            raise UserError(f"{source!r}: found on the hub, but it cannot be loaded: {first_line(error)}") from error
        raise UserError(
            f"{source!r}: no such file or folder, and the hub cannot be reached ({first_line(unreachable)}); "
            "download the data set on a machine with network and pass its folder with --data"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    return Found({split: tables[name] for split, name in chosen_splits(tables, source).items()})


def english_names(source: str) -> dict[str, str]:
    """The first English name of each WordNet id in the classes.json beside the files; {} if there is no such file."""
    path = Path(source).expanduser()
    path = (path if path.is_dir() else path.parent) / "classes.json"
    try:
        return {entry["wnid"]: entry["words"].split(",")[0] for entry in json.loads(path.read_text("utf-8"))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such file, or one of another format
        return {}
