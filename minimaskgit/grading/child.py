"""Where a student's functions run: the judge starts this process, which forks a locked copy for each exercise.

    judge ──"new", with a socket──> this process, Python and torch imported ──fork──> lock ──> the student's file
                                      watches, kills, reports why it ended            answers calls on that socket

Every exercise gets a fresh copy, so that nothing a function does to its process affects another exercise. This file is
run as a script outside the package: a student's process has only this file and the three that it imports.
"""

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import linecache
import os
import random
import resource
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import confinement
from confinement import Cannot, Limits
from execution import execute
from protocol import MEBI, Channel, NotPlain, ProtocolError, Reference

sys.path.pop(0)

import numpy as np
import torch
import torch.distributions
import torch.nn.functional

TICK = 0.1  # seconds between two checks of the watcher

# --- The student's process ---


class StandIn:
    """Stands in for an object that stays with the judge: its numbers are attributes, each method call is a message."""

    def __init__(self, channel: Channel, reference: Reference):
        self._reference = reference
        self._methods = {name: functools.partial(ask, channel, reference, name) for name in reference.methods}
        for name, value in reference.data.items():
            setattr(self, name, value)

    def __call__(self, *args, **options):
        return self.__getattr__("__call__")(*args, **options)

    def eval(self) -> "StandIn":  # as a careful decoder does; the judge's model is in that mode already
        return self

    def __getattr__(self, name: str) -> Callable:
        if (name.startswith("_") and name != "__call__") or name not in self._methods:
            raise AttributeError(f"the grader's stand-in has no {name}")
        return self._methods[name]


ANCHORS: list[torch.Tensor] = []  # of calls to stand-ins within the current call, so that backward reaches them


def ask(channel: Channel, reference: Reference, method: str, *args, **options):
    """Call a method of an object that the judge holds; gradients flow through the result, and to its weights."""
    needs_grad = torch.is_grad_enabled()
    through = [at for at, value in enumerate(args) if isinstance(value, torch.Tensor) and value.requires_grad]
    question = {"of": _bare(reference), "method": method, "args": args, "options": options}
    reply = channel.request(do="ask", **question, taught=needs_grad, through=through)
    if "error" in reply:
        raise RuntimeError(reply["error"])
    value = reply["value"]
    if not (needs_grad and isinstance(value, torch.Tensor) and reply["taught"]):
        return value
    anchor = torch.zeros((), requires_grad=True)
    ANCHORS.append(anchor)
    return ThroughTheJudge.apply(channel, reply["call"], value, anchor, *(args[at] for at in through))


def _bare(reference: Reference) -> Reference:
    return Reference(reference.number, {}, [])


class ThroughTheJudge(torch.autograd.Function):
    """The result of `ask`, whose backward pass the judge computes."""

    @staticmethod
    def forward(ctx, channel, call, value, anchor, *inputs):
        ctx.channel, ctx.call = channel, call
        return value.clone()

    @staticmethod
    def backward(ctx, upstream):
        reply = ctx.channel.request(do="back", call=ctx.call, upstream=upstream)
        return None, None, None, torch.zeros(()), *reply["gradients"]


class Student:
    """The functions of a student's file, and the requests that the judge may make: load, call, gradients, forward."""

    def __init__(self, connection: socket.socket):
        self.channel = Channel(connection, self.refer, self.resolve, lambda message: {"error": "not now"})
        self.functions: dict[str, Any] = {}

    def refer(self, value: Any) -> Reference | None:
        return _bare(value._reference) if isinstance(value, StandIn) else None

    def resolve(self, reference: Reference) -> StandIn:
        return StandIn(self.channel, reference)

    def serve(self) -> None:
        while True:
            message = self.channel.receive()
            try:
                reply = {"value": getattr(self, message["do"])(**message["with"])}
            except (EOFError, ProtocolError):
                raise
            except BaseException as error:  # sys.exit too
                reply = {"error": described(error)}
            self.answer(message["nonce"], reply)

    def answer(self, nonce: str, reply: dict) -> None:
        try:
            self.channel.send({"nonce": nonce, **reply})
        except (NotPlain, MemoryError, RecursionError, RuntimeError) as error:
            self.channel.send({"nonce": nonce, "error": described(error)})

    def load(self, source: np.ndarray, name: str, lent: dict[str, str], seed: int) -> None:
        """Run the student's file, its bytes in UTF-8, which may import the modules in `lent` (sources by name)."""
        source = source.tobytes().decode("utf-8")
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        sys.meta_path.insert(0, Lent(lent))
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        module = types.ModuleType(name.removesuffix(".py"))
        module.__file__ = os.path.abspath(name)
        sys.modules[module.__name__] = module
        self.functions = vars(module)
        execute(source, name, self.functions)

    def call(self, name: str, args: list, options: dict) -> dict:
        """Call a function; returns its result, and the tensor arguments that it changed in place."""
        before = [value.clone() if isinstance(value, torch.Tensor) else None for value in args]
        with torch.no_grad():  # so that .numpy() works on what a model returns; `gradients` is the way to ask for them
            result = self._function(name)(*args, **options)
        written = {
            str(at): value
            for at, (value, was) in enumerate(zip(args, before))
            if was is not None and not torch.equal(value, was)
        }
        return {"result": result, "written": written}

    def gradients(self, name: str, args: list, output: int | None, upstream: torch.Tensor | None) -> list:
        """Gradients of a result, or of its part `output`, for all float tensors in the arguments; None if unused."""
        ANCHORS.clear()
        args = [_leaf(value) for value in args]
        result = self._function(name)(*args)
        result = result if output is None else result[output]
        leaves = list(_leaves(args))
        if not result.requires_grad:
            return [None] * len(leaves)
        found = torch.autograd.grad(result, [*leaves, *ANCHORS], upstream, allow_unused=True)
        return list(found[: len(leaves)])

    def forward(self, name: str, options: dict, weights: dict, x: torch.Tensor) -> torch.Tensor:
        """The output for `x` of a student's module with the given weights, in eval mode."""
        module = self._function(name)(**options).eval()
        module.load_state_dict(weights)
        with torch.no_grad():
            return module(x)

    def _function(self, name: str) -> Callable:
        if name not in self.functions:
            raise NotImplementedError(f"there is no {name} in the file")
        return self.functions[name]


class Refused:
    """Stands in for a name of the package that is not lent: it may be imported, but not used."""

    def __init__(self, name: str):
        self._name = name

    def _refuse(self, *args, **options):
        raise ImportError(f"{self._name} cannot be used here: the exercise does not need it")

    def __or__(self, other: object) -> "Refused":  # in an annotation
        return self

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __call__ = __mro_entries__ = __instancecheck__ = __iter__ = __getitem__ = _refuse
    __ror__ = __or__


class Lent:
    """Imports modules of the package from the sources that the judge sent; all other names of it are `Refused`."""

    def __init__(self, texts: dict[str, str]):
        self.texts = texts

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "minimaskgit":
            return None
        return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None  # Python's default

    def exec_module(self, module: types.ModuleType) -> None:
        def refused(name: str) -> Refused:
            inner = f"{module.__name__}.{name}"
            if name.startswith("__") or any(text == inner or text.startswith(f"{inner}.") for text in self.texts):
                raise AttributeError(name)  # Python then imports the module of that name
            return Refused(inner)

        module.__getattr__ = refused
        exec(compile(self.texts.get(module.__name__, ""), f"<{module.__name__}>", "exec"), vars(module))


def _leaf(value):
    if isinstance(value, list | tuple):
        return [_leaf(part) for part in value]
    return value.detach().clone().requires_grad_() if _is_float(value) else value


def _leaves(values: list) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        elif _is_float(value):
            yield value


def _is_float(value) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def described(error: BaseException) -> dict:
    """An error as plain values: its kind and text, and where in the student's file it was raised."""
    name = next((name for name in sys.modules if name.startswith("lesson_")), "") + ".py"
    line, code = None, ""
    with contextlib.suppress(Exception):
        if isinstance(error, SyntaxError):
            line, code = error.lineno, (error.text or "").strip()
        else:
            own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
            line, code = (own[-1].lineno, own[-1].line) if own else (None, "")
    text = ""
    with contextlib.suppress(Exception):
        text = str(getattr(error, "msg", None) or error)[:1000]
    return {"kind": type(error).__name__, "text": text, "line": line, "code": str(code)[:200]}


# --- Starting and ending students' processes ---


def start(connection: socket.socket, limits: Limits, namespaces: bool, hidden: list[str], user: int) -> int:
    """Start a locked process that serves a socket for one exercise; returns its pid. Cannot if the lock fails."""
    space = confinement.address_space()
    number_from, number_to = os.pipe()
    ready_from, ready_to = os.pipe()
    middle_ended, middle_alive = os.pipe()
    if (middle := os.fork()) == 0:  # its child is process 1 of the new namespaces; we adopt it when `middle` ends
        try:
            os.setsid()
            if namespaces:
                confinement.enter_namespaces()
            first = os.fork()
        except OSError as error:
            os.write(ready_to, str(error).encode())
            os._exit(1)
        if first:
            os.write(number_to, str(first).encode())
            os._exit(0)
        os.close(middle_alive)
        os.read(middle_ended, 1)  # wait until `middle` has ended: from now on our parent does not change
        run_student(connection, limits, namespaces, hidden, user, space, ready_to)
    os.close(number_to)
    os.close(ready_to)
    os.waitpid(middle, 0)
    os.close(middle_alive)
    os.close(middle_ended)
    with os.fdopen(number_from) as number, os.fdopen(ready_from) as ready:
        first, trouble = number.read(), ready.read()  # returns when both are closed: then the process is locked
    if trouble:
        if first:
            kill_all(int(first))
        raise Cannot(0, trouble)
    return int(first)


def run_student(
    connection: socket.socket, limits: Limits, namespaces: bool, hidden: list[str], user: int, space: int, ready: int
) -> None:
    """Lock this process, then serve the student's functions until the judge closes the connection; never returns."""
    try:
        if namespaces:
            confinement.own_files(hidden)
            os.chdir(confinement.WORK)
        else:
            os.chdir(tempfile.mkdtemp(dir="."))
            os.chmod(".", 0o777)
        confinement.set_limits(limits, space)
        confinement.give_up_privileges(user)
        confinement.die_with_parent()
        keep_only(connection.fileno(), ready)
        os.environ.clear()
        tempfile.tempdir = os.getcwd()  # imports may write there; the folder that was /tmp is out of reach
        home = dict.fromkeys(("HOME", "TMPDIR"), os.getcwd())  # so may matplotlib and torch, which keep caches
        os.environ.update(home, USER="student", MPLBACKEND="Agg")
    except BaseException as error:
        os.write(ready, f"{error}"[:300].encode() or b"?")
        os._exit(1)
    os.close(ready)
    try:
        Student(connection).serve()
    finally:
        os._exit(0)


def keep_only(*descriptors: int) -> None:
    """Close all other file descriptors, and connect standard input, output and error to nothing."""
    null = os.open(os.devnull, os.O_RDWR) if os.path.exists(os.devnull) else 0
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    last = 3
    for descriptor in sorted(descriptors):
        os.closerange(last, descriptor)
        last = descriptor + 1
    os.closerange(last, 4096)


def kill_all(number: int) -> str:
    """Kill a student's process and all its descendants; returns how it ended, by itself or killed."""
    for _ in range(100):
        for each in [number, *confinement.descendants(os.getpid())]:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(number, signal.SIGKILL)
        if reap():
            return ENDS.get(number, "")
        time.sleep(0.01)
    return "could not be killed"


ENDS: dict[int, str] = {}  # how processes ended, by pid


def reap() -> bool:
    """Reap dead children; returns whether none is left, not even one of which some threads are still ending."""
    try:
        while (done := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(done[1])
            ENDS[done[0]] = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    except ChildProcessError:
        return True
    return False


def exceeded(limits: Limits, own: int) -> str:
    """Which limit the student's processes exceed together, or an empty string; own: bytes of an idle process."""
    processes = confinement.descendants(os.getpid())
    used = sum(max(0, memory - own) for memory in processes.values()) // MEBI
    if used > limits.memory:
        return f"more than {limits.memory} MB of memory"
    if len(processes) > 2 * limits.processes:
        return f"more than {limits.processes} processes"
    return ""


def send_line(control: socket.socket, **fields: Any) -> None:
    control.sendall(json.dumps(fields).encode() + b"\n")


def protection(limits: Limits, namespaces: bool, hidden: list[str], user: int) -> dict:
    """Try the lock: whether namespaces work, whether there is another user, and why there are no namespaces."""
    why = "only Linux has namespaces" if namespaces else "not requested"
    if confinement.LINUX and namespaces:
        ours, theirs = socket.socketpair()
        try:
            number = start(theirs, limits, True, hidden, user)
            theirs.close()
            kill_all(number)
            return {"namespaces": True, "user": confinement.is_another_user(user), "why": ""}
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            ours.close()
    return {"namespaces": False, "user": confinement.is_another_user(user), "why": why}


def main() -> None:
    """Serve the judge until it closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    limits, hidden, user = Limits(**settings["limits"]), settings["hidden"], settings["user"] + os.getpid()
    os.chdir(settings["folder"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # we end when the judge does
    confinement.adopt_orphans()
    torch.set_num_threads(1)
    torch.rand(2).softmax(0)  # torch initialises itself at its first use
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if confinement.LINUX else 1)
    lock = protection(limits, settings["namespaces"], hidden, user)
    send_line(control, **lock)
    number, too_much = 0, ""
    while True:
        if not select.select([control], [], [], TICK)[0]:
            if number and not too_much and (too_much := exceeded(limits, own)):
                kill_all(number)
            continue
        order, descriptors, *_ = socket.recv_fds(control, 16, 1)
        how = kill_all(number) if number else ""
        number = 0
        if not order:
            return
        if order == b"end":
            send_line(control, how=too_much or how)
        else:
            with socket.socket(fileno=descriptors[0]) as connection:
                try:
                    number, too_much = start(connection, limits, lock["namespaces"], hidden, user), ""
                    send_line(control, started=True, number=number)
                except OSError as error:
                    send_line(control, started=False, why=str(error))


if __name__ == "__main__":
    main()
