"""Messages between judge and child: plain values, framed, checked on arrival, and never a pickle.

    12 bytes: two lengths │ JSON: {"tree": the value, "arrays": [[dtype, shape, kind], ...]} │ the arrays' bytes

A value is None, a bool, number or string, a tensor or numpy array, a list, tuple or dictionary of these, a
torch.Generator (by its state), or a reference to an object that stays with the judge. So whoever writes on the socket
can send a wrong value, but nothing worse. The child runs this file too, so it imports nothing from the package.
"""

import json
import math
import secrets
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

MEBI = 2**20
LONGEST_TEXT, LONGEST_ARRAYS, DEEPEST = 4 * MEBI, 64 * MEBI, 20
LENGTHS = struct.Struct("!IQ")
_NAMES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64"
DTYPES = {name: getattr(torch, name) for name in _NAMES.split()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class ProtocolError(Exception):
    """The other side sent an invalid message, which ends the conversation."""


class NotPlain(TypeError):
    """A value that cannot be sent."""


class Reference:
    """An object of the judge's as sent on the socket: its number, its data, and the methods that may be called."""

    def __init__(self, number: int, data: dict[str, int | float], methods: list[str]):
        self.number, self.data, self.methods = number, data, methods


# --- Values to trees of JSON and arrays, and back ---


def encode(value: Any, refer: Callable[[Any], Reference | None]) -> tuple[str, bytes]:
    """A value as text and bytes. refer: returns the reference to an object that is not plain, or None to refuse it."""
    arrays: list[list] = []
    chunks: list[bytes] = []

    def array(tensor: torch.Tensor, kind: str) -> int:
        tensor = tensor.detach().as_subclass(torch.Tensor)
        if tensor.dtype not in NAMES or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise NotPlain(f"a tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device} is not a plain array")
        if tensor.nbytes + sum(map(len, chunks)) > LONGEST_ARRAYS:
            raise NotPlain(f"more than {LONGEST_ARRAYS // MEBI} MB at once")
        if tensor.numel():
            dense = tensor.clone(memory_format=torch.contiguous_format)  # one number may have a stride of its own
            chunks.append(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
        arrays.append([NAMES[tensor.dtype], list(tensor.shape), kind])
        return len(arrays) - 1

    def tree(value: Any, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise NotPlain(f"lists in lists, more than {DEEPEST} deep")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, torch.Tensor):
            return {"array": array(value, "tensor")}
        if isinstance(value, np.ndarray | np.generic):
            return {"array": array(torch.from_numpy(np.array(value)), "numpy")}
        if isinstance(value, torch.Generator):
            return {"generator": array(value.get_state(), "tensor")}
        if isinstance(value, list | tuple):
            return {"list" if isinstance(value, list) else "tuple": [tree(part, depth + 1) for part in value]}
        if isinstance(value, dict) and all(type(key) is str for key in value):
            return {"dict": {key: tree(part, depth + 1) for key, part in value.items()}}
        reference = value if isinstance(value, Reference) else refer(value)
        if reference is None:
            raise NotPlain(f"a {type(value).__name__} is neither array nor number nor text, nor made of them")
        return {"reference": [reference.number, reference.data, reference.methods]}

    return json.dumps({"tree": tree(value), "arrays": arrays}), b"".join(chunks)


def decode(text: bytes, body: bytes, resolve: Callable[[Reference], Any]) -> Any:
    """The value that `encode` encoded; ProtocolError for anything else. resolve: returns a reference's object."""
    try:
        message = json.loads(text)
        arrays = _arrays(message["arrays"], body)
        return _value(message["tree"], arrays, resolve, 0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, RuntimeError) as error:
        raise ProtocolError(f"not a message: {type(error).__name__}") from None


def _arrays(described: list, body: bytes) -> list[torch.Tensor | np.ndarray]:
    found, at = [], 0
    for name, shape, kind in described:
        if not all(type(side) is int and side >= 0 for side in shape) or kind not in ("tensor", "numpy"):
            raise ProtocolError("an array without a valid shape")
        size = math.prod(shape) * DTYPES[name].itemsize
        chunk = bytearray(body[at : at + size])
        if len(chunk) != size:
            raise ProtocolError("an array with too few bytes")
        at += size
        if not chunk:
            tensor = torch.empty(shape, dtype=DTYPES[name])
        elif name == "bool":  # a byte of 2 would count twice in sums
            tensor = torch.frombuffer(chunk, dtype=torch.uint8).ne(0).reshape(shape)
        else:
            tensor = torch.frombuffer(chunk, dtype=DTYPES[name]).reshape(shape)
        found.append(tensor.numpy() if kind == "numpy" else tensor)
    if at != len(body):
        raise ProtocolError("bytes that belong to no array")
    return found


def _value(tree: Any, arrays: list, resolve: Callable[[Reference], Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise ProtocolError("nested too deep")
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    ((kind, inside),) = tree.items()
    again = lambda part: _value(part, arrays, resolve, depth + 1)
    if kind == "array":
        return arrays[inside]
    if kind == "generator":
        generator = torch.Generator()
        generator.set_state(arrays[inside])
        return generator
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(again(part) for part in inside)
    if kind == "dict":
        return {key: again(part) for key, part in inside.items()}
    if kind == "reference":
        return resolve(Reference(*inside))
    raise ProtocolError("a value of unknown kind")


# --- The conversation ---


class Channel:
    """One end of the socket. A request gets one reply with the same nonce; before it, the other side may ask back."""

    def __init__(self, connection: socket.socket, refer: Callable, resolve: Callable, answer: Callable[[dict], dict]):
        self.connection, self.refer, self.resolve, self.answer = connection, refer, resolve, answer
        self.deadline: float | None = None  # in time.monotonic(); after it, a TimeoutError...
        self.extension: Callable[[], float] = lambda: 0.0  # ...unless this, called then, returns more seconds

    def request(self, **message: Any) -> dict:
        nonce = secrets.token_hex(16)
        self.send({"nonce": nonce, **message})
        while True:
            received = self.receive()
            if "do" in received:
                self._reply(received.get("nonce"), self.answer(received))
            elif received.get("nonce") == nonce:
                return received
            else:
                raise ProtocolError("a reply that nobody asked for")

    def _reply(self, nonce: Any, answer: dict) -> None:
        try:
            self.send({"nonce": nonce, **answer})
        except NotPlain as error:
            self.send({"nonce": nonce, "error": str(error)})

    def send(self, message: dict) -> None:
        text, body = encode(message, self.refer)
        text = text.encode("utf-8", "replace")
        if len(text) > LONGEST_TEXT:
            raise NotPlain(f"more than {LONGEST_TEXT // MEBI} MB of lists and numbers at once")
        self._until_deadline()
        self.connection.sendall(LENGTHS.pack(len(text), len(body)) + text + body)

    def receive(self) -> dict:
        text_size, body_size = LENGTHS.unpack(self._exactly(LENGTHS.size))
        if text_size > LONGEST_TEXT or body_size > LONGEST_ARRAYS:
            raise ProtocolError("a message that is too long")
        text = self._exactly(text_size)
        message = decode(text, self._exactly(body_size), self.resolve)
        if not isinstance(message, dict):
            raise ProtocolError("not a message")
        return message

    def _exactly(self, count: int) -> bytes:
        parts, missing = [], count
        while missing:
            self._until_deadline()
            try:
                part = self.connection.recv(min(missing, MEBI))
            except TimeoutError:
                continue
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _until_deadline(self) -> None:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.deadline += (left := self.extension())
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
