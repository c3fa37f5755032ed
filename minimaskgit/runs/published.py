"""The ImageNet weights that the authors of MaskGIT published: where they are, and how to fetch them.

ADDRESS/NAME ──from where it stopped last time──> FOLDER/NAME.partial ──if it has the published size──> FOLDER/NAME
"""

import http.client
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.common.files import writing

PAGE = "https://github.com/google-research/maskgit"  # whose README links to these files
ADDRESS = "https://storage.googleapis.com/maskgit-public/checkpoints"
PATIENCE = 60  # seconds without a byte


class Published(NamedTuple):
    """A file of the authors'."""

    name: str
    size: int  # bytes


FILES = {
    "tokenizer": Published("tokenizer_imagenet256_checkpoint", 218_068_642),
    "transformer": Published("maskgit_imagenet256_checkpoint", 689_843_608),
}


def is_whole(file: Published, folder: Path) -> bool:
    """Whether the file is in the folder and has the published size."""
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def fetch(file: Published, folder: Path, address: str = ADDRESS) -> None:
    """Download a file into a folder, or the rest of it if an earlier call was stopped; UserError if that fails."""
    url, partial = f"{address.rstrip('/')}/{file.name}", folder / f"{file.name}.partial"
    have = partial.stat().st_size if partial.is_file() else 0
    have = have if have < file.size else 0
    with _reached(url):
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        reply = urllib.request.urlopen(request, timeout=PATIENCE)
    with reply:
        if not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # a server that sends the whole file
        length = reply.headers.get("Content-Length")
        if length and have + int(length) != file.size:
            raise UserError(f"{url} has {have + int(length):,} bytes; expected {file.size:,}: it is another file")
        with writing(partial):
            folder.mkdir(parents=True, exist_ok=True)
            bar = tqdm(total=file.size, initial=have, desc=file.name, unit="B", unit_scale=True, dynamic_ncols=True)
            with bar, partial.open("ab" if have else "wb") as target:
                for part in _parts(reply, url):
                    target.write(part)
                    bar.update(len(part))
    if (found := partial.stat().st_size) != file.size:
        raise UserError(f"{url} gave {found:,} of {file.size:,} bytes; type the command again to fetch the rest")
    with writing(folder / file.name):
        partial.replace(folder / file.name)


def _parts(reply: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    with _reached(url):
        while part := reply.read(2**20):
            yield part


@contextmanager
def _reached(url: str) -> Iterator[None]:
    """Turn errors of the network into a UserError."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{url} cannot be fetched ({first_line(reason) or type(error).__name__}); check the network and type the"
            " command again, or fetch the file with a browser: python -m minimaskgit.imagenet says how to go on"
        ) from None
