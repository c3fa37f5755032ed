"""What a run learned from, and where that was: RUN/data.json (lesson 9).

    --data pics, typed in /home/me ──load──> ImageData ──────────> RUN/data.json: class names, counts, fingerprints
    RUN/data.json ──locate──> /home/me/pics, or where it is now ──load──> the same, or a UserError

Runs of earlier versions have no data.json; of their data only the class names are known, from labels.json.
"""

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.data.imagenet import as_imagenet
from minimaskgit.data.images import ImageData
from minimaskgit.data.sources import load_data
from minimaskgit.runs.config import Config, Settings, load_config, problem, save_config
from minimaskgit.runs.run import Run

SPLITS = ("train", "valid")


@dataclass(frozen=True)
class ClassImages(Settings):
    """A class, and its number of images in each split."""

    name: str
    train: int
    valid: int


@dataclass(frozen=True)
class Origin(Settings):
    """What a run learned from."""

    data: str  # as typed
    typed_in: str | None  # the folder it was typed in; None if it is not on this disk: glyphs, or a hub id
    from_run: str | None  # that folder as seen from the run, in case they move together
    classes: tuple[ClassImages, ...]  # by label
    fingerprints: dict[str, str]  # of the files, by split; "" if unknown


class Place(NamedTuple):
    """Where data is."""

    source: str  # for `load_data`
    base: Path | None  # the folder in which `data`, as typed, means this; None if it is not on this disk


# --- Where it is ---


def locate(data: str, folder: Path) -> Place:
    """Where the data of the run in `folder` is now: where it was typed, in the current folder, or beside the run.

    Data that the run does not know are looked for in the current folder. UserError if it was once on disk and is gone.
    """
    origin, here = read_origin(folder), Path.cwd()
    if data in ("", "glyphs"):
        return Place(data, None)
    if origin is None or origin.data != data:
        bases = [here] if origin else [here, folder.resolve()]
    elif origin.typed_in is None:
        return Place(data, None)
    else:
        beside = [folder.resolve() / origin.from_run] if origin.from_run else []
        bases = [Path(origin.typed_in), here, folder.resolve(), *beside]
    for base in map(Path, map(os.path.normpath, bases)):
        if source := _found(data, base):
            return Place(data if source == _found(data, here) else source, base)
    if origin and origin.data == data:
        raise UserError(
            f"{data!r}, the data of {folder}, was typed in {origin.typed_in} and is neither there nor here nor beside"
            f" the run; bring it back, or say where it is:"
            f" {cli.typed('train', '--out', folder, '--resume', '--data', 'PLACE')}"
        )
    return Place(data, None)


def _found(data: str, base: Path) -> str | None:
    path = base / os.path.expanduser(data)  # an absolute path stays as it is
    if os.path.exists(path):
        return str(path)
    pattern = os.path.join(glob.escape(str(base)), os.path.expanduser(data))
    return pattern if glob.glob(pattern, recursive=True) else None


# --- What it is ---


def origin_of(data: str, place: Place, folder: Path, train: ImageData, valid: ImageData) -> Origin:
    """What a run in `folder` learns from, when `data` was found in `place` and loaded."""
    counts = (split.labels.bincount(minlength=train.num_classes).tolist() for split in (train, valid))
    return Origin(
        data,
        place.base and str(place.base),
        place.base and _relative(place.base, folder.resolve()),
        tuple(ClassImages(*found) for found in zip(train.label_names, *counts)),
        {"train": train.fingerprint, "valid": valid.fingerprint},
    )


def _relative(path: Path, start: Path) -> str | None:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # on another drive of Windows
        return None


def first_change(before: Origin, now: Origin) -> str | None:
    """The first difference between two sets of data, wherever they are, as text; None if there is none."""
    if change := changed_names([c.name for c in before.classes], [c.name for c in now.classes]):
        return change
    pairs = list(zip(before.classes, now.classes))
    for old, new in pairs:  # in all, because a new image may send others to another split
        if (there := old.train + old.valid) != (here := new.train + new.valid):
            return f"class {new.name!r} has {here} images; it had {there}"
    for split in SPLITS:
        for old, new in pairs:
            if (there := getattr(old, split)) != (here := getattr(new, split)):
                return f"class {new.name!r} has {here} images to {split}; it had {there}"
    for split in SPLITS:
        there, here = before.fingerprints.get(split), now.fingerprints.get(split)
        if there and here and there != here:
            return "the images differ"
    return None


def changed_names(before: Sequence[str], now: Sequence[str]) -> str | None:
    """The first difference between two lists of class names, as text; None if there is none."""
    for name in now:
        if name not in before:
            return f"class {name!r} is new"
    for name in before:
        if name not in now:
            return f"class {name!r} is gone"
    return None if list(before) == list(now) else "its classes are in another order"


# --- The file ---


def read_origin(folder: Path) -> Origin | None:
    """What RUN/data.json says; None if there is none. UserError if it is damaged."""
    path = folder / "data.json"
    if not (folder / "config.json").exists():  # no run yet, only what is left of another
        return None
    try:
        return TypeAdapter(Origin).validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        reason = problem(error)[1] if isinstance(error, ValidationError) else error
        raise UserError(
            f"{path}, which says what the run learned from, cannot be read ({reason}); bring it back, or delete it if"
            " the data have not changed since"
        ) from None


def check_unchanged(folder: Path, now: Origin) -> None:
    """UserError if the run in `folder` learned from other data."""
    before = read_origin(folder)
    if before is not None:
        _refuse(folder, now.data, first_change(before, now))


def check_names(folder: Path, names: Sequence[str], place: Place) -> None:
    """UserError if the run in `folder` has other classes than its data."""
    if (known := _known_names(folder)) is not None:
        change = changed_names(as_imagenet(known), as_imagenet(names))
        if change and read_origin(folder) is None:  # of an earlier version, or imported: it may never have had others
            raise UserError(
                f"{place.source} has other classes than {folder} knows: {change}; expected images of its classes, named"
                f' as "data" in {folder / "config.json"}'
            )
        _refuse(folder, place.source, change)


def _refuse(folder: Path, data: str, change: str | None) -> None:
    if change:
        raise UserError(
            f"{folder} learned from other data than {data} is now: {change}; bring the data back, or train a new run"
            " in another --out"
        )


def _known_names(folder: Path) -> list[str] | None:
    """The names of the classes that the run in `folder` learned; None if there is no run, or it has just begun."""
    if origin := read_origin(folder):
        return [c.name for c in origin.classes]
    path = folder / "labels.json"
    if not ((folder / "config.json").exists() and path.exists()):
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is broken ({error}); expected the names of the classes") from None


def remember(folder: Path, config: Config, now: Origin) -> None:
    """Write config.json, data.json and labels.json into a new run; in an older one, only what is missing or moved."""
    saved = folder / "config.json"
    if not saved.exists():  # first, because without it the others are not a run's
        save_config(config, saved)
        write_json(folder / "labels.json", [c.name for c in now.classes])
    elif (before := load_config(saved)).data != config.data:
        if read_origin(folder) is None:
            print(f"note: {folder} is of an earlier version: of its data only the class names could be compared")
        save_config(replace(before, data=config.data), saved)
    if read_origin(folder) != now:
        write_json(folder / "data.json", asdict(now))
    if not (folder / "labels.json").exists():
        write_json(folder / "labels.json", [c.name for c in now.classes])


# --- For the commands that use a finished run ---


def run_data(run: Run, split: str, count: int) -> ImageData:
    """At most `count` images of one split of the run's data; UserError if it has other classes than the run."""
    settings, place = run.config.images, locate(run.config.data, run.folder)
    columns = {"image_column": settings.image_column, "label_column": settings.label_column}
    if place.source != run.config.data:
        print(f"data: {place.source}")
    data = load_data(place.source, split, settings.size, count, settings.classes, seed=run.config.seed, **columns)
    check_names(run.folder, data.label_names, place)
    return data
