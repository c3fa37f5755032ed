"""Arrays in flax's format, read and written without JAX: msgpack with extension types for arrays.

    FILE ──memory map──> nested maps {"params": {"Embed_0": {...}}}, whose arrays are views of the map ──> FILE

An array is an extension of type 1 with [shape, name of the dtype, little-endian bytes in C order]; 3 is a numpy scalar,
as in training states. Arrays over 1 GiB, read but never written here, are maps with their pieces. The file's pages are
read when an array is used, and the system may drop them again, so a file costs no memory of its own; the package
msgpack would copy it. Nothing in a file is executed, and whatever it says, a damaged one ends in a UserError.
"""

import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write
from minimaskgit.runs.models import foreign

DTYPES = ("float16", "float32", "float64", "bool")
DTYPES += tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DEEPEST = 50  # maps within maps
PIECES = "__msgpack_chunked_array__"

# For each kind: the first byte of its one-byte forms, which include the size, and the number of these forms; then the
# first byte of each longer form, by how many bytes of size follow it. An "int" is nothing but a size.
FORMS = {
    "int": (0x00, 128, {1: 0xCC, 2: 0xCD, 4: 0xCE, 8: 0xCF}),
    "map": (0x80, 16, {2: 0xDE, 4: 0xDF}),
    "list": (0x90, 16, {2: 0xDC, 4: 0xDD}),
    "str": (0xA0, 32, {1: 0xD9, 2: 0xDA, 4: 0xDB}),
    "bin": (0, 0, {1: 0xC4, 2: 0xC5, 4: 0xC6}),
    "ext": (0, 0, {1: 0xC7, 2: 0xC8, 4: 0xC9}),
}
EXTENSIONS = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}  # first bytes of those with these sizes
# First byte -> kind, size, and how many bytes follow that hold the size instead.
STARTS = {low + size: (kind, size, 0) for kind, (low, count, _) in FORMS.items() for size in range(count)}
STARTS |= {code: (kind, 0, width) for kind, (_, _, codes) in FORMS.items() for width, code in codes.items()}
STARTS |= {code: ("ext", size, 0) for size, code in EXTENSIONS.items()}
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True} | {256 + number: number for number in range(-32, 0)}
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
# What other files of weights begin with.
OTHERS = {
    b"PK": "a zip archive, such as PyTorch's .pt, .pth and .ckpt files, or an .npz",
    **{bytes([0x80, protocol]): "a pickle, which is a program and never loaded" for protocol in range(2, 6)},
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive: unpack it",
}


class Damaged(ValueError):
    """What is wrong with the bytes."""


class Unexpected(ValueError):
    """What whole bytes hold instead of what is expected."""


def read_arrays(path: Path) -> dict[str, Any]:
    """The content of a flax checkpoint: nested maps with arrays as read-only views; UserError for another file."""
    if not os.path.isfile(path):  # unlike the path's own methods, these take a name that is too long
        found = "is a folder" if os.path.isdir(path) else "is not a file" if os.path.exists(path) else "does not exist"
        raise UserError(f"{path} {found}; expected a flax checkpoint, a file as the authors published it")
    try:
        with path.open("rb") as file:
            if other := foreign(path, "a flax checkpoint") or _other(path, file):
                raise UserError(other)
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a flax checkpoint") from None
    try:
        reader = Reader(data)
        content = reader.value()
        if reader.at < len(data):
            raise Damaged(f"{len(data) - reader.at} bytes follow its end")
        if not isinstance(content, dict):
            raise Damaged("it does not begin with a map")
    except Damaged as error:
        raise UserError(f"{path} is not a flax checkpoint, or is damaged: {error}; download it again") from None
    except Unexpected as error:
        raise UserError(f"{path} {error}") from None
    return content


def _other(path: Path, file: BinaryIO) -> str | None:
    start = file.read(9)
    kind = next((name for first, name in OTHERS.items() if start.startswith(first)), None)
    kind = kind or ("a safetensors file" if start[8:] == b"{" else None)
    return f"{path} is {kind}; expected a flax checkpoint (msgpack), as the authors published" if kind else None


class Reader:
    """Reads one msgpack value after another from `data`, beginning at byte `at`."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            missing = count - (len(self.data) - self.at)
            raise Damaged(
                f"it is cut off after {len(self.data):,} bytes, where at least {missing:,} more should follow"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise Damaged(f"more than {DEEPEST} maps within each other")
        first = self.number(">B")
        if first in CONSTANTS:
            return CONSTANTS[first]
        if first in NUMBERS:
            return self.number(NUMBERS[first])
        if first not in STARTS:
            raise Damaged(f"byte {self.at - 1:,} is {first:#x}, which msgpack does not have")
        kind, size, width = STARTS[first]
        size += int.from_bytes(self.take(width), "big")
        match kind:
            case "int":
                return size
            case "map":
                return joined(dict(self.entry(depth) for _ in range(size)), size)
            case "list":
                return [self.value(depth + 1) for _ in range(size)]
            case "str":
                return text(self.take(size))
            case "bin":
                return self.take(size)
        return extension(self.number(">b"), Reader(self.take(size)))

    def entry(self, depth: int) -> tuple[str, Any]:
        key = self.value(depth + 1)
        if not isinstance(key, str) or not key.isprintable():
            raise Damaged(f"a name is {key!r:.40}, not printable text")
        return key, self.value(depth + 1)


def text(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise Damaged("a name is not UTF-8") from None


def extension(kind: int, inner: Reader) -> Any:
    """An array (1) or a numpy scalar (3)."""
    if kind not in (1, 3):
        raise Damaged(f"it has an extension of type {kind}; expected 1, an array, or 3, a number")
    match inner.value():
        case [list() as shape, str() as name, memoryview() as data]:
            array = as_array(shape, name, data)
            return array if kind == 1 else array[()]
    raise Damaged("an array is not made of a shape, a dtype and bytes")


def as_array(shape: list, name: str, data: memoryview) -> np.ndarray:
    if name == "bfloat16":  # which numpy lacks
        raise Unexpected("has arrays of bfloat16; expected float32, as the authors published")
    if name not in DTYPES:
        raise Damaged(f"an array has the dtype {name!r}; expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(name).newbyteorder("<")
    if not is_shape(shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise Damaged(f"an array of shape {shape} and dtype {name} has {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def is_shape(shape: list) -> bool:
    return len(shape) <= 32 and all(type(side) is int and 0 <= side < 2**63 for side in shape)


def joined(content: dict[str, Any], size: int) -> dict[str, Any] | np.ndarray:
    """A map, or the array that its pieces make; older versions of flax have lists where newer ones have maps."""
    if len(content) < size:
        raise Damaged("a map has a name twice")
    if PIECES not in content:
        return content
    shape, pieces = (in_order(content.get(name)) for name in ("shape", "chunks"))
    if not pieces or not all(isinstance(piece, np.ndarray) and piece.ndim == 1 for piece in pieces):
        raise Damaged("an array in pieces has none")
    flat = np.concatenate(pieces)
    if not is_shape(shape) or math.prod(shape) != flat.size:
        raise Damaged(f"an array of shape {shape} has pieces of {flat.size:,} numbers")
    return flat.reshape(shape)


def in_order(values: Any) -> list:
    if isinstance(values, dict):
        return [values.get(str(i)) for i in range(len(values))]
    return values if isinstance(values, list) else []


# --- Writing ---


def write_arrays(path: Path, content: Mapping[str, Any]) -> None:
    """Write nested maps of arrays, none over 1 GiB, as flax does, atomically and one array at a time."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for part in packed(content):
            file.write(part)


def packed(content: Any) -> Iterator[bytes]:
    """The msgpack of nested maps of arrays, part by part."""
    if isinstance(content, Mapping):
        yield head("map", len(content))
        for key, value in content.items():
            yield packed_text(key)
            yield from packed(value)
    else:
        data = content.astype(content.dtype.newbyteorder("<"), copy=False).tobytes()
        shape = head("list", content.ndim) + b"".join(head("int", side) for side in content.shape)
        start = head("list", 3) + shape + packed_text(content.dtype.name) + head("bin", len(data))
        yield head("ext", len(start) + len(data)) + b"\x01" + start
        yield data


def packed_text(content: str) -> bytes:
    data = content.encode("utf-8")
    return head("str", len(data)) + data


def head(kind: str, size: int) -> bytes:
    """The first bytes of something of this size, in the shortest form."""
    low, count, codes = FORMS[kind]
    if size < count:
        return bytes([low + size])
    if kind == "ext" and size in EXTENSIONS:
        return bytes([EXTENSIONS[size]])
    code, width = next((code, width) for width, code in codes.items() if size < 256**width)
    return bytes([code]) + size.to_bytes(width, "big")
