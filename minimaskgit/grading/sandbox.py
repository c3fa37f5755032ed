"""The judge's end of the socket: calls a student's functions, which run in a separate process for each exercise.

    answers.cosine(r, 256) ──> {"do": "call", ...} ──socket──> child.py ──> a plain value, checked on arrival

Plain arguments are sent as values. Other objects, such as schedules and models, stay here. The student gets a stand-in
with their numbers (DATA) and methods (METHODS), and each call of a method comes back as a message. So the judge itself
sees what a model was called with, nobody can lie about it, and no answer of the package is in the child.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.execution import place
from minimaskgit.grading.protocol import MEBI, Channel, NotPlain, ProtocolError, Reference, encode

DATA = ("num_tokens", "num_codes", "num_classes", "mask_id", "length")
METHODS = ("__call__", "trunk", "logits")
LARGEST_QUESTION = MEBI  # bytes that a student's function may pass to a stand-in at once
REMEMBERED = 256  # latest calls to stand-ins through which gradients can flow back
CHILD = Path(__file__).with_name("child.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
STARTING = 120  # seconds to start Python and torch from a cold disk
MOST_PATIENCE = 10  # the most that a call's time limit is multiplied by, if other processes use the processor
FIRST_USER = 1_000_000  # if root grades, students run as users with numbers from here on, who own nothing


class StudentError(Exception):
    """A student's function did not return an answer; `explanation` is one line that says why."""

    def __init__(self, explanation: str):
        super().__init__(explanation)
        self.explanation = explanation


class NotWritten(StudentError, NotImplementedError):
    """The function is missing, or its body is still that of the exercise."""


class JudgeError(Exception):
    """The grader failed, not the student: there will be no grade."""


class Sandbox:
    """The process that starts students' processes as copies of itself (child.py).

    folder: an empty folder to work in. hidden: folders that students must not see. namespaces: whether to try them.
    """

    def __init__(self, limits: Limits, folder: Path, hidden: list[Path], namespaces: bool = True):
        self.control, theirs = socket.socketpair()
        settings = {"limits": asdict(limits), "folder": str(folder), "user": FIRST_USER}
        settings["namespaces"] = namespaces
        settings["hidden"] = [str(path.resolve()) for path in hidden]
        command = [sys.executable, "-s", "-P", "-B", str(CHILD), str(theirs.fileno()), json.dumps(settings)]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.control.settimeout(STARTING)
        self.lines = self.control.makefile("r")
        self.protection = self._read_line()

    def _read_line(self) -> dict:
        try:
            return json.loads(self.lines.readline())
        except (OSError, ValueError):
            raise JudgeError("the sandbox does not answer") from None

    def start(self) -> socket.socket:
        """Start a fresh process, after killing the previous one; returns the connection to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"new"], [theirs.fileno()])
            reply = self._read_line()
        if not reply["started"]:
            raise JudgeError(f"the student's process cannot be started: {reply['why']}")
        self.number = reply["number"]
        return ours

    def waited(self) -> float:
        """Seconds of waiting for the processor, which do not count against the student; 0 where they are not known."""
        try:
            both = (Path(f"/proc/{number}/schedstat").read_text("utf-8") for number in (self.number, "self"))
            return sum(int(text.split()[1]) for text in both) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def end(self) -> str:
        """Kill the student's process and all that it started; returns how it ended."""
        self.control.sendall(b"end")
        return self._read_line()["how"]

    def close(self) -> None:
        self.lines.close()
        self.control.close()  # child.py then kills what is left and ends
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Answers:
    """A student's functions as attributes, like those of a module.

    seconds: time limits for all calls of an exercise together, and for one call; an exercise may also use the time that
    earlier ones have saved. The judge's own work, such as a model's, counts only beyond the same time again: a student
    may ask for a lot of it. infinite: functions whose answers may be infinite; no answer may be NaN.
    """

    functions = ()

    def __init__(
        self,
        name: str,
        source: str,
        lent: dict[str, str],
        sandbox: Sandbox,
        seconds: tuple[float, float],
        seed: int = 0,
        infinite: Sequence[str] = (),
    ):
        self._name, self._source, self._lent, self._sandbox = name, source, lent, sandbox
        self._share, self._call_seconds = seconds
        self._seed, self._infinite = seed, infinite
        self._seconds = self._left = 0.0
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        return self._name

    def begin(self) -> str:
        """Start a fresh process for the next exercise; returns why the file cannot be loaded, if it cannot."""
        self.finish()
        self._free = self._share  # seconds of the judge's work that do not count
        self._left, self._over = self._share + max(0.0, self._left), None
        self._seconds = self._left
        self._objects: list[Any] = []  # that the student's function refers to by number
        self._calls: deque = deque(maxlen=REMEMBERED)
        self._asked = 0
        self._channel = Channel(self._sandbox.start(), self._refer, self._resolve, self._answer)
        source = np.frombuffer(self._source.encode("utf-8"), np.uint8)  # as text, JSON could make it six times longer
        loading = {"source": source, "name": self._name, "lent": self._lent, "seed": self._seed}
        try:
            self._request("load", loading)
        except StudentError as error:
            self._over = error
            return error.explanation
        return ""

    def finish(self) -> float:
        """Kill the exercise's process; returns the seconds that it took."""
        if self._channel is None:
            return 0.0
        self._channel.connection.close()
        self._sandbox.end()
        self._channel = None
        return self._seconds - self._left

    # --- What laws call ---

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args, **options):
            reply = self._request("call", {"name": name, "args": list(args), "options": options})
            result, written = reply["result"], reply["written"]
            for at, value in written.items():  # change our arguments in place, as a direct call would
                ours = args[int(at)]
                if not (isinstance(ours, Tensor) and value.shape == ours.shape and value.dtype == ours.dtype):
                    raise ProtocolError("a changed argument has another shape or dtype")
                ours.copy_(value)
            check_numbers(name, result, infinite=name in self._infinite)
            return result

        return self._guarded(call)

    def gradients(self, name: str, *args, output: int | None = None, upstream: Tensor | None = None) -> list:
        """Gradients of a function's result for all float tensors in the arguments, in lists and modules too."""
        modules = [value for value in args if isinstance(value, nn.Module)]
        for module in modules:
            module.zero_grad(set_to_none=True)
        message = {"name": name, "args": list(args), "output": output, "upstream": upstream}
        reply = self._guarded(lambda: self._request("gradients", message))()
        found = iter(self._fitting(reply, list(_floats(args))))
        return list(_in_order(args, found))

    def forward(self, name: str, options: dict, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Create a module of the student's class, load weights, and call it in eval mode."""
        message = {"name": name, "options": options, "weights": dict(weights), "x": x}
        result = self._guarded(lambda: self._request("forward", message))()
        check_numbers(name, result)
        return result

    def _guarded(self, function: Callable) -> Callable:
        """Wrap a function so that a violation of the protocol ends the exercise."""

        def call(*args, **options):
            try:
                return function(*args, **options)
            except (ProtocolError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                if isinstance(error, ProtocolError):
                    self._over = StudentError(f"its process sent no valid answer: {error}")
                else:
                    self._over = StudentError("its process sent no valid answer")
                raise self._over from None

        return call

    def _fitting(self, gradients: Any, at: list[Tensor]) -> list:
        if not isinstance(gradients, list) or len(gradients) != len(at):
            raise StudentError("its process sent no valid answer")
        for gradient, tensor in zip(gradients, at):
            if gradient is not None and not (isinstance(gradient, Tensor) and gradient.shape == tensor.shape):
                raise StudentError("its process sent no valid answer")
        check_numbers("the gradient", gradients)
        return gradients

    # --- Messages ---

    def _request(self, do: str, message: dict) -> Any:
        """Send a request and wait for the reply; StudentError if the student's side fails."""
        if self._over:
            raise self._over
        before, limit = time.monotonic(), max(0.0, min(self._left, self._call_seconds))
        waited, worked, latest = self._sandbox.waited(), time.thread_time(), before + MOST_PATIENCE * limit
        ours = lambda: time.thread_time() - worked
        uncounted = lambda: max(0.0, self._sandbox.waited() - waited) + min(ours(), self._free)
        patience = lambda: max(0.0, min(before + limit + uncounted(), latest) - time.monotonic())
        self._channel.deadline, self._channel.extension = before + limit, patience
        try:
            reply = self._channel.request(**{"do": do, "with": message})
        except NotPlain as error:
            raise JudgeError(f"a law passes an argument that cannot be sent: {error}") from None
        except TimeoutError:
            if limit < self._call_seconds:
                self._over = StudentError(f"the exercise's time is used up; this call had {limit:.0f} seconds left")
            else:
                self._over = StudentError(f"no answer after {limit:.0f} seconds")
        except (EOFError, OSError):
            self._over = StudentError(f"its process ended ({self._sandbox.end() or 'it closed the connection'})")
        except ProtocolError as error:
            self._over = StudentError(f"its process sent no valid answer: {error}")
        finally:
            self._left -= time.monotonic() - before - uncounted()
            self._free = max(0.0, self._free - ours())
        if self._over:
            raise self._over
        if "error" in reply:
            raise student_error(reply["error"], self._source)
        return reply.get("value")

    def _refer(self, value: Any) -> Reference | None:
        data = {name: getattr(value, name) for name in DATA if type(getattr(value, name, None)) is int}
        methods = [name for name in METHODS if callable(getattr(value, name, None))]
        if not data and not methods:
            return None
        known = [at for at, one in enumerate(self._objects) if one is value]
        if not known:
            self._objects.append(value)
        return Reference(known[0] if known else len(self._objects) - 1, data, methods)

    def _resolve(self, reference: Reference) -> Any:
        if type(reference.number) is not int or not 0 <= reference.number < len(self._objects):
            raise ProtocolError("no such object")
        return self._objects[reference.number]

    def _answer(self, message: dict) -> dict:
        """Answer a call of a stand-in's method; an error is sent back to the student's function."""
        try:
            return {"ask": self._ask, "back": self._back}[message["do"]](message)
        except ProtocolError:
            raise
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:1000]}

    def _ask(self, message: dict) -> dict:
        thing, method, args, options = (message[key] for key in ("of", "method", "args", "options"))
        if method not in METHODS or not any(thing is one for one in self._objects):
            raise ProtocolError("no such method")
        size = len(encode([args, options], self._refer)[1])
        if size > LARGEST_QUESTION:
            raise ValueError(f"more than {LARGEST_QUESTION // MEBI} MB passed to a model at once")
        with torch.set_grad_enabled(message["taught"] is True):
            args = [value.requires_grad_() if at in message["through"] else value for at, value in enumerate(args)]
            result = getattr(thing, method)(*args, **options)
        through = [args[at] for at in message["through"]]
        has_grad = isinstance(result, Tensor) and result.requires_grad
        self._asked += 1
        if has_grad:
            self._calls.append((self._asked, result, through, size))
            while sum(size for *_, size in self._calls) > LARGEST_QUESTION:  # each holds memory for its way back
                self._calls.popleft()
        return {"value": result, "taught": has_grad, "call": self._asked}

    def _back(self, message: dict) -> dict:
        result, through = next((result, args) for call, result, args, _ in self._calls if call == message["call"])
        for tensor in through:
            tensor.grad = None
        torch.autograd.backward(result, message["upstream"], retain_graph=True)
        return {"gradients": [tensor.grad for tensor in through]}


def check_numbers(name: str, value: Any, infinite: bool = False) -> None:
    """AssertionError for NaN in an answer, and for infinite numbers unless they are allowed."""
    for number in _numbers(value):
        assert not bool(np.isnan(number).any()), f"{name} returns NaN, as 0 / 0 or 0 * log(0) would"
        assert infinite or not bool(np.isinf(number).any()), (
            f"{name} returns an infinite number, as 1 / 0 or log(0) would"
        )


def student_error(error: Any, source: str) -> StudentError:
    """An error in a text, reported by the child, as a StudentError that is safe to print."""
    error = error if isinstance(error, dict) else {}
    kind = re.sub(r"\W", "", str(error.get("kind")))[:60]
    text = clean(str(error.get("text")))[:200]
    line, code = error.get("line"), clean(str(error.get("code")))[:100]
    where = f", in {place(source, line)}: {code}" if type(line) is int else ""
    unwritten = kind == "NotImplementedError" and not (text and where)  # torch raises one too, with a text
    return (NotWritten if unwritten else StudentError)(f"{kind}: {text}{where}")


def clean(text: str) -> str:
    """The first line of a text, with control characters replaced."""
    return visible(next(iter(text.splitlines()), ""))


def visible(text: str) -> str:
    """A text on one line, with everything replaced that a terminal or a spreadsheet would obey or that hides itself."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _numbers(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, Tensor) and value.is_floating_point():
        yield value.double().numpy()
    elif (isinstance(value, np.ndarray) and value.dtype.kind == "f") or isinstance(value, float):
        yield np.asarray(value)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, dict):
        yield from _numbers(list(value.values()))


def _floats(args: Any) -> Iterator[Tensor]:
    for value in args:
        if isinstance(value, list | tuple):
            yield from _floats(value)
        elif isinstance(value, Tensor) and value.is_floating_point():
            yield value


def _in_order(args: Any, gradients: Iterator) -> Iterator[Tensor | None]:
    """Gradients in the order of the arguments: those of tensors come from the child, those of modules are here."""
    for value in args:
        if isinstance(value, list | tuple):
            yield from _in_order(value, gradients)
        elif isinstance(value, nn.Module):
            yield from (weight.grad for weight in value.parameters())
        elif isinstance(value, Tensor) and value.is_floating_point():
            yield next(gradients)
