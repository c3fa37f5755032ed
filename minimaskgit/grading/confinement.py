"""The lock: what a student's process may see, use and do. Runs in the child, so it imports nothing from the package.

    namespaces (Linux):  a separate file system that contains only Python, no network, no view of other processes;
                         when the first process ends, so do all others in it
    limits (everywhere): memory, processor time, processes, file sizes, open files; and no privileges

Without namespaces only the limits remain, and a watcher that counts processes and memory; the grader then warns.
"""

import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":  # on Windows nobody can be graded, but Limits can be imported
    import resource

    LIBC = ctypes.CDLL(None, use_errno=True)

LINUX = sys.platform == "linux"
NOBODY = 65534  # the user without rights, by custom
WORK = "/student"  # the student's own empty folder
SYSTEM = ("/usr", "/lib", "/lib64", "/bin")  # shared libraries and links to them
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

NEW_FILES, NEW_HOSTNAME, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
READ_ONLY, NO_SUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # number of the system call by machine
MOUNT_SETATTR, HERE = 442, -100
DIES_WITH_PARENT, DROP_CAPABILITY, ADOPTS_ORPHANS, NO_NEW_PRIVILEGES = 1, 24, 36, 38


@dataclass(frozen=True)
class Limits:
    """What the student's process may use for one exercise."""

    memory: int = 1024  # MB in addition to what Python and torch take
    seconds: int = 20  # of processor time
    processes: int = 32
    file_size: int = 16  # MB
    open_files: int = 64


class Cannot(OSError):
    """The system does not offer a protection."""


def _call(name: str, *arguments) -> None:
    if getattr(LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise Cannot(number, f"{name}: {os.strerror(number)}")


def _bytes(path: str | None) -> bytes | None:
    return path and os.fsencode(path)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    _call("mount", _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(options))


# --- Namespaces ---


def enter_namespaces() -> None:
    """Stop sharing resources with other processes; the next fork is process 1 there. Cannot if refused."""
    user, group = os.geteuid(), os.getegid()
    everything = NEW_FILES | NEW_HOSTNAME | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
    if user == 0:  # root needs no user namespace, and becomes another user later
        _call("unshare", everything)
        return
    _call("unshare", everything | NEW_USER)
    Path("/proc/self/setgroups").write_text("deny", "utf-8")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1", "utf-8")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1", "utf-8")


def own_files(hidden: list[str]) -> None:
    """Switch to a file system that contains only Python, read-only, and a small folder to write to.

    hidden: folders that appear empty even inside Python's folders, where the package itself may be.
    """
    python = {path: os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    python |= {path: path for path in python.values()}  # both the paths that Python uses and the targets of their links
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", NO_SUID | NO_DEVICES, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    _pivot("/tmp", "/tmp/old")
    for path in SYSTEM:
        if os.path.islink(f"/old{path}"):
            os.symlink(os.readlink(f"/old{path}"), path)
        elif os.path.isdir(f"/old{path}"):
            _show(path, path)
    for path, real in sorted(python.items()):
        if not path.startswith("/usr/") and path != "/usr":
            _show(path, real)
    for path in hidden:
        if os.path.isdir(path):
            _mount("tmpfs", path, "tmpfs", NO_SUID | NO_DEVICES, "size=64k,mode=755")
            for folder in python:
                if Path(folder).is_relative_to(path):  # such as .venv in the project's folder
                    _show(folder, python[folder])
            _mount(None, path, None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES)
    os.mkdir("/dev")
    for path in DEVICES:
        Path(path).touch()
        _mount(f"/old{path}", path, None, BIND)
    os.mkdir(WORK)
    _mount("tmpfs", WORK, "tmpfs", NO_SUID | NO_DEVICES, "size=32m,mode=777")
    _call("umount2", b"/old", DETACH)
    os.rmdir("/old")
    _mount(None, "/", None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES)


def _pivot(root: str, old: str) -> None:
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise Cannot(0, f"no pivot_root known for {os.uname().machine}")
    _call("syscall", ctypes.c_long(number), _bytes(root), _bytes(old))
    os.chdir("/")


def _show(path: str, real: str) -> None:
    """Make a folder of the old file system visible as `path`, read-only like everything mounted in it."""
    os.makedirs(path, exist_ok=True)
    _mount(f"/old{real}", path, None, BIND | RECURSIVE)
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SUID | NO_DEVICES, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    everything_in_it = 0x8000
    _call("syscall", ctypes.c_long(MOUNT_SETATTR), HERE, _bytes(path), everything_in_it, attributes, size)


# --- Privileges and limits ---


def is_another_user(user: int) -> bool:
    """Whether `give_up_privileges` changes the user: only root can, and in a container only if more users exist."""
    if os.geteuid() != 0 or not LINUX:
        return os.geteuid() == 0
    ranges = [map(int, line.split()) for line in Path("/proc/self/uid_map").read_text("utf-8").splitlines()]
    return any(first <= number < first + count for first, _, count in ranges for number in (user, NOBODY))


def give_up_privileges(user: int) -> None:
    """Become `user` if we are root, and drop all privileges for good."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
        for number in (user, NOBODY):
            with contextlib.suppress(OSError):
                os.setresgid(number, number, number)
                os.setresuid(number, number, number)
                break
    if LINUX:
        for capability in range(64):
            LIBC.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        LIBC.capset(header, none)
        LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def set_limits(limits: Limits, address_space: int) -> None:
    """Limit this process and its children, for good. address_space: bytes that it already uses."""
    mega = 2**20
    for kind, value in {
        "RLIMIT_AS": address_space + limits.memory * mega,
        "RLIMIT_CPU": limits.seconds,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_FSIZE": limits.file_size * mega,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is already set, or the system has no such limit
            resource.setrlimit(getattr(resource, kind), (value, value))


def address_space() -> int:
    """Bytes of address space that this process has reserved; torch alone reserves gigabytes."""
    try:
        return int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    except OSError:
        return 16 * 2**30


def die_with_parent() -> None:
    if LINUX:
        LIBC.prctl(DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of processes that a child leaves behind, so that we can find them."""
    if LINUX:
        LIBC.prctl(ADOPTS_ORPHANS, 1, 0, 0, 0)


# --- Watching ---


def descendants(of: int) -> dict[int, int]:
    """Resident memory in bytes of all living descendants of a process, by pid; empty if the system has no /proc."""
    found: dict[int, int] = {}
    waiting = [of]
    while waiting:
        for child in _children(waiting.pop()):
            states = [stat for stat in map(_stat, _threads(child)) if stat]
            alive = [memory for state, memory in states if state != "Z"]  # the first thread may end before the others
            if alive:
                found[child] = max(alive)
            waiting += [child] * bool(states)
    return found


def _threads(of: int) -> list[Path]:
    """Folders of all threads of a process in /proc; any of them may end at any moment."""
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{of}/task").iterdir())
    return []


def _stat(thread: Path) -> tuple[str, int] | None:
    """State of a thread, "Z" if it has ended, and resident memory of its process in bytes; None if it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = (thread / "stat").read_text("latin-1").rpartition(")")[2].split()  # its name may be any bytes
        return fields[0], int(fields[21]) * resource.getpagesize()


def _children(of: int) -> list[int]:
    """Children of all threads of a process."""
    children = []
    for thread in _threads(of):
        with contextlib.suppress(OSError, ValueError):
            children += map(int, (thread / "children").read_text("utf-8").split())
    return children
