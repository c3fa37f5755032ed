"""The grader's parts: the wire protocol, hostile code, lent code, and finding submissions.

tests/hostile holds one attack per file: each redefines `remask` in a file whose other answers are right.
"""

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lawbook import cases
from tiny import FixedLogits, tiny_transformer

from minimaskgit import grade
from minimaskgit.common.errors import UserError
from minimaskgit.grading import confinement, execution, lent, platforms, protocol, similarity
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.laws import may_be_infinite
from minimaskgit.grading.protocol import ProtocolError
from minimaskgit.grading.sandbox import FIRST_USER, Answers, JudgeError, Sandbox, StudentError
from minimaskgit.grading.submissions import Submission, collect, named
from minimaskgit.grading.texts import read_answer, text_of

ROOT = Path(__file__).parents[1]
HOSTILE = sorted((ROOT / "tests" / "hostile").glob("*.py"))
RIGHT = sorted((ROOT / "tests" / "right_answers").glob("lesson_*.py"))
HONEST = (ROOT / "tests" / "right_answers" / "lesson_5_thresholds.py").read_text("utf-8")
EXERCISE = ROOT / "lessons" / "exercises" / "lesson_5.py"


# --- The wire ---

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=9,
)


def there_and_back(value, resolve=None):
    text, body = protocol.encode(value, lambda thing: None)
    return protocol.decode(text.encode(), body, resolve or (lambda reference: None))


@given(value=plain)
def test_plain_values_arrive_unchanged(value):
    assert there_and_back({"a": value, "b": (value, 1)}) == {"a": value, "b": (value, 1)}


@pytest.mark.parametrize("dtype", protocol.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_arrive_with_their_bits_dtype_and_shape(dtype, shape):
    tensor = (10 * torch.rand(shape)).to(dtype).T if len(shape) == 2 else (10 * torch.rand(shape)).to(dtype)
    arrived = there_and_back([tensor])[0]
    assert type(arrived) is torch.Tensor and arrived.dtype == dtype and arrived.shape == tensor.shape
    assert arrived.equal(tensor)
    if dtype != torch.bfloat16:
        array = there_and_back(tensor.numpy())
        assert isinstance(array, np.ndarray) and array.dtype == tensor.numpy().dtype and (array == tensor.numpy()).all()


@pytest.mark.parametrize("rows", [slice(1), slice(None, None, 2), slice(None)])
def test_a_part_of_an_array_arrives_whatever_its_strides(rows):
    column = torch.rand(3, 2)[rows, 1]  # of a single number, too, the stride may be 2
    assert there_and_back(column).equal(column)


def test_a_generator_arrives_in_its_state():
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    arrived = there_and_back(generator)
    assert torch.rand(9, generator=arrived).equal(torch.rand(9, generator=generator))


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", 1j, torch.zeros(2, dtype=torch.cfloat), {1, 2}, print])
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(protocol.NotPlain):
        there_and_back(value)


@given(text=st.binary(max_size=60) | plain.map(lambda value: json.dumps(value).encode()), body=st.binary(max_size=20))
def test_any_bytes_on_the_wire_are_a_value_or_a_protocol_error(text, body):
    with contextlib.suppress(ProtocolError):
        protocol.decode(text, body, lambda reference: None)


trees = plain | st.sampled_from(["array", "list", "tuple", "dict", "generator", "reference", "other"]).flatmap(
    lambda kind: plain.map(lambda inside: {kind: inside})
)


@given(tree=trees, arrays=st.lists(st.tuples(st.sampled_from([*protocol.NAMES.values(), "object"]), plain, plain)))
def test_messages_that_are_almost_right_are_values_or_protocol_errors_too(tree, arrays):
    text = json.dumps({"tree": tree, "arrays": arrays}).encode()
    with contextlib.suppress(ProtocolError):
        protocol.decode(text, b"\0" * 64, lambda reference: None)


def test_a_true_counts_as_one_whatever_its_byte_is():
    text = json.dumps({"tree": {"array": 0}, "arrays": [["bool", [3], "tensor"]]}).encode()
    assert protocol.decode(text, b"\xff\x02\x00", lambda reference: None).sum() == 2


def test_an_array_has_as_many_bytes_as_its_shape_says():
    for shape, body in ([[3], b"\0" * 11], [[3], b"\0" * 13], [[-3], b""], [[2**62, 4], b""], [[True], b"\0" * 4]):
        text = json.dumps({"tree": {"array": 0}, "arrays": [["float32", shape, "tensor"]]}).encode()
        with pytest.raises(ProtocolError):
            protocol.decode(text, body, lambda reference: None)


# --- The sandbox ---


@pytest.fixture(scope="module")
def sandbox(linux):
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))  # pytest's own folders are closed to other users
    folder.chmod(0o777)
    one = Sandbox(Limits(memory=512, seconds=20), folder, [ROOT])
    yield one
    one.close()
    shutil.rmtree(folder)


def test_root_of_a_container_without_other_users_is_not_said_to_be_another_user(linux):
    code = "from minimaskgit.grading.confinement import is_another_user as f; print(f(1000))"
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("user namespaces are not allowed here")
    assert found.stdout == "False\n"
    assert confinement.is_another_user(1000) == (os.geteuid() == 0)


@pytest.fixture(scope="module")
def unlocked(linux):
    """A sandbox on a system without namespaces."""
    if os.geteuid() != 0:
        pytest.skip("an attack would run as the user who runs the tests")
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
    folder.chmod(0o777)
    one = Sandbox(Limits(memory=512, seconds=20), folder, [ROOT], namespaces=False)
    yield one
    one.close()
    shutil.rmtree(folder)


@pytest.fixture
def locked(sandbox):
    if not sandbox.protection["namespaces"]:
        pytest.skip(f"no namespaces here: {sandbox.protection['why']}")


def answers(sandbox: Sandbox, source: str, **options) -> Answers:
    seconds = options.pop("seconds", (60.0, 3.0))
    found = Answers("lesson_5.py", source, lent.lent_to(EXERCISE), sandbox, seconds, **options)
    found.begin()
    return found


LAWS = cases(5)


def earns(impl: Answers, exercise: str) -> bool:
    """Whether all laws hold; a law breaks by the student's error, or by what pytest counts as one."""
    impl.begin()
    try:
        for law in LAWS[exercise]:
            law(impl)
    except JudgeError:
        raise
    except Exception:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("answer", RIGHT, ids=lambda path: path.stem)
def test_a_right_answer_earns_all_exercises_through_the_sandbox(answer, sandbox):
    lesson = int(answer.stem.split("_")[1])
    laws, infinite = cases(lesson), may_be_infinite()
    texts = lent.lent_to(EXERCISE.with_name(f"lesson_{lesson}.py"))
    seconds = (grade.Options.timeout / len(laws), grade.Options.call_timeout)
    impl = Answers(answer.name, answer.read_text("utf-8"), texts, sandbox, seconds, infinite=infinite)
    for of_one_exercise in laws.values():
        impl.begin()
        for law in of_one_exercise:
            law(impl)


def test_the_judge_s_own_work_uses_up_the_student_s_time_only_if_there_is_a_lot_of_it(sandbox, monkeypatch):
    monkeypatch.setattr("minimaskgit.grading.sandbox.MOST_PATIENCE", 1000)  # on a busy machine

    def slow_model(x: float) -> float:
        until = time.thread_time() + 1.5
        while time.thread_time() < until:
            pass
        return x + 1

    impl = answers(sandbox, "def decode(model):\n    return model(1.0)\n", seconds=(2.0, 2.0))
    assert impl.decode(slow_model) == 2
    assert impl.finish() < 1
    impl = answers(sandbox, "def decode(model):\n    while True:\n        model(1.0)\n", seconds=(1.0, 1.0))
    with pytest.raises(StudentError, match=r"no answer after|time is used up"):
        impl.decode(slow_model)


def files_of_the_project() -> dict[Path, tuple[int, int]]:
    folders = (ROOT / "minimaskgit", ROOT / "tests", ROOT / "lessons", Path(torch.__file__).parent)
    files = [path for folder in folders for path in folder.glob("*") if path.name != "__pycache__"]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("attack", HOSTILE, ids=lambda path: path.stem)
def test_an_attack_earns_nothing_and_honest_exercises_in_the_same_file_keep_their_points(attack, sandbox, tmp_path):
    if not (sandbox.protection["namespaces"] or sandbox.protection["user"]):
        pytest.skip("here an attack would run as the user who runs the tests")
    if attack.stem == "reads_the_reference" and not sandbox.protection["namespaces"]:
        pytest.skip("without namespaces files can be read")
    attack_with(attack, sandbox, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["os_exit", "infinite_loop", "memory_bomb", "fork_bomb", "daemon", "headless", "signals", "kills", "writes_files"],
)
def test_limits_and_the_watcher_hold_without_namespaces_too(name, unlocked, tmp_path):
    assert not unlocked.protection["namespaces"]
    attack_with(ROOT / "tests" / "hostile" / f"{name}.py", unlocked, tmp_path)


def attack_with(attack: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """Check that the attack earns nothing, changes nothing and leaves nothing; other answers keep their points."""
    canary = tmp_path / "canary"
    canary.write_text("untouched", "utf-8")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        with contextlib.suppress(OSError):
            folder.chmod(0o755)
    before = files_of_the_project()
    source = HONEST + attack.read_text("utf-8").replace("{canary}", str(canary)).replace("{root}", str(ROOT))
    impl = answers(sandbox, source, infinite=["confidence"])
    began = time.monotonic()
    assert not earns(impl, "remask"), "the attack was worth something"
    assert time.monotonic() - began < 60, "it kept the judge busy"
    assert earns(impl, "confidence") and earns(impl, "num_to_mask"), "an honest exercise lost its points"
    impl.finish()
    assert canary.read_text("utf-8") == "untouched" and not list(tmp_path.glob("canary?*"))
    assert files_of_the_project() == before
    assert not strays(sandbox), "something is still running"


def strays(sandbox: Sandbox) -> list[int]:
    """Processes that were started by the sandbox or belong to its user for students."""
    found = list(confinement.descendants(sandbox.process.pid))
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == FIRST_USER + sandbox.process.pid:
                found.append(int(folder.name))
    return found


BREEDER = """
import os, sys, time

while os.getppid() == int(sys.argv[1]):  # children and grandchildren that live for a moment
    if (child := os.fork()) == 0:
        if os.fork() == 0:
            time.sleep(0.0005)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_processes_that_end_while_they_are_counted_do_no_harm(linux):
    breeder = subprocess.Popen([sys.executable, "-c", BREEDER, str(os.getpid())])
    try:
        assert sum(bool(confinement.descendants(breeder.pid)) for _ in range(20_000)) > 0
    finally:
        breeder.kill()
        breeder.wait()


NAMELESS = """
import ctypes, sys

ctypes.CDLL(None).prctl(15, b"\\xff) Z", 0, 0, 0)  # PR_SET_NAME
print("renamed", flush=True)
sys.stdin.read()
"""


def test_a_process_cannot_hide_behind_a_name_that_is_not_text(linux):
    with subprocess.Popen([sys.executable, "-c", NAMELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"renamed\n"
        assert process.pid in confinement.descendants(os.getpid())
        process.stdin.close()


PROBE = """
import json, os, socket, sys

def look(path):
    try:
        return sorted(os.listdir(path))[:9]
    except OSError as error:
        return type(error).__name__

def remask(what):
    if what == "environment":
        return dict(os.environ)
    if what == "folder":
        return [os.getcwd(), look(".")]
    if what == "root":
        return look("/")
    if what == "user":
        return [os.getuid(), os.geteuid()]
    if what == "write":
        open("mine", "w").write("x")
        return look(".")
    if what.startswith("connect "):
        socket.create_connection(("127.0.0.1", int(what.split()[1])), timeout=1)
        return "connected"
    return look(what)
"""


def test_a_student_s_process_has_no_environment_and_a_separate_empty_folder(sandbox, monkeypatch):
    impl = answers(sandbox, PROBE)
    assert set(impl.remask("environment")) == {"HOME", "TMPDIR", "USER", "MPLBACKEND"}
    assert impl.remask("folder")[1] == []
    impl.begin()
    assert "Errno" not in str(impl.remask("write"))


def test_a_student_s_process_runs_as_nobody(sandbox):
    if os.geteuid() != 0 and not sandbox.protection["namespaces"]:
        pytest.skip("without root or namespaces it is the user")
    users = answers(sandbox, PROBE).remask("user")
    assert 0 not in users and os.geteuid() not in users


def test_a_student_s_process_sees_only_python(locked, sandbox):
    impl = answers(sandbox, PROBE)
    assert impl.remask(str(ROOT)) in ("FileNotFoundError", "PermissionError", [], [".venv"])
    assert impl.remask(str(ROOT / "tests")) == "FileNotFoundError"
    assert impl.remask(str(Path.home())) in ("FileNotFoundError", "PermissionError", [".pyenv"])
    assert not {"old", "home", "proc", "etc", "root2"} & set(impl.remask("/"))


def test_a_python_behind_a_link_can_also_import_in_the_sandbox(locked, monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
    (folder / "empty").mkdir()
    (folder / "venv").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(folder / "venv" / "bin" / "python"))
    one = Sandbox(Limits(memory=512, seconds=20), folder / "empty", [ROOT])
    try:
        source = "def f():\n    import sys, numpy.random, torch.distributions\n    return sys.prefix\n"
        assert answers(one, source).f() == str(folder / "venv")
    finally:
        one.close()
        shutil.rmtree(folder)


def test_a_student_s_process_has_no_network(locked, sandbox):
    refused = pytest.raises(StudentError, match=r"OSError|ConnectionRefused|unreachable")
    with socket.create_server(("127.0.0.1", 0)) as server, refused:
        answers(sandbox, PROBE).remask(f"connect {server.getsockname()[1]}")


def test_a_model_that_a_student_calls_stays_with_the_judge(sandbox):
    source = "def decode(model, labels):\n    return [model(model.mask_id + labels, labels)[0, 0], model.num_codes]\n"
    model = FixedLogits(torch.randn(4, 6))
    logits, codes = answers(sandbox, source).decode(model, torch.tensor([[2, 2, 2, 2]]))
    assert logits.equal(model.answer[0]) and codes == 6
    assert [seen.tolist() for seen in model.seen] == [[[11, 11, 11, 11]]]


@pytest.mark.parametrize("asked", ["seen", "answer", "parameters()", "__dict__['seen']"])
def test_a_student_gets_nothing_else_of_a_model(asked, sandbox):
    impl = answers(sandbox, f"def decode(model):\n    return str(model.{asked})\n")
    with pytest.raises(StudentError, match=r"AttributeError|KeyError"):
        impl.decode(FixedLogits(torch.randn(4, 6)))


def test_a_student_cannot_make_the_judge_s_model_work_on_more_than_a_megabyte(sandbox):
    impl = answers(sandbox, "import torch\ndef decode(model):\n    return model(torch.zeros(10**6, 4), 0)\n")
    with pytest.raises(StudentError, match="more than 1 MB"):
        impl.decode(FixedLogits(torch.randn(4, 6)))


def test_gradients_go_back_through_a_student_s_function_and_through_the_judge_s_model(sandbox):
    source = "def f(model, x, y):\n    return (model(x) * y).sum()\ndef g(a, b):\n    return a * b.detach(), b\n"
    model, x, y = torch.nn.Linear(3, 2), torch.randn(4, 3), torch.randn(4, 2)
    impl = answers(sandbox, source)
    weight, bias, at_x, at_y = impl.gradients("f", model, x, y)
    x, y = x.requires_grad_(), y.requires_grad_()
    expected = torch.autograd.grad((model(x) * y).sum(), [*model.parameters(), x, y])
    assert all(found.allclose(right) for found, right in zip([weight, bias, at_x, at_y], expected))
    a, b = torch.randn(3), torch.randn(3)
    at_a, at_b = impl.gradients("g", a, b, output=0, upstream=torch.ones(3))
    assert at_a.allclose(b) and at_b is None


def test_what_a_function_writes_into_its_arguments_is_also_written_here(sandbox):
    tokens = torch.zeros(3)
    answers(sandbox, "def remask(tokens):\n    tokens[1] = 5.0\n").remask(tokens)
    assert tokens.tolist() == [0, 5, 0]


@pytest.mark.parametrize(("value", "message"), [("nan", "NaN"), ("inf", "infinite")])
def test_an_answer_is_finite(value, message, sandbox):
    source = f"import torch\ndef f(x):\n    return [x, torch.tensor([0.0, torch.{value}])]\n"
    with pytest.raises(AssertionError, match=message):
        answers(sandbox, source).f(1)


def test_the_same_seed_gives_the_same_numbers_and_every_exercise_starts_fresh(sandbox):
    source = "import random, torch\nCOUNT = []\ndef f():\n    COUNT.append(0)\n"
    source += "    return len(COUNT), random.random(), torch.rand(()).item()\n"
    impl = answers(sandbox, source, seed=3)
    first = impl.f()
    impl.begin()
    assert impl.f() == first and impl.f()[0] == 2


def test_an_error_is_shown_with_the_student_s_own_line_and_without_terminal_codes(sandbox):
    source = 'def f(x):\n    raise ValueError("\\x1b[2J" + "a" * 999)\n'
    with pytest.raises(StudentError, match=r"ValueError: \?\[2Ja{5,200}, in line 2: raise ValueError") as error:
        answers(sandbox, source).f(1)
    assert error.value.explanation.isprintable()


LEGITIMATE = {
    "matplotlib": "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('a.png')\n",
    "deterministic": "import torch\ntorch.use_deterministic_algorithms(True)\n",
    "unused imports": "import minimaskgit.training.loop\nfrom minimaskgit.notebook import check\n"
    "from minimaskgit.decoding import *\nfrom minimaskgit import decoding, metrics\n",
    "its own path": "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\n",
    "many letters": "# " + "\x01" * 900_000 + "\n",
    "home": "import getpass, pathlib\n(pathlib.Path.home() / 'notes').write_text(getpass.getuser())\n",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    a: 'int' = 1\n",
    "printing": "import warnings\nprint('x' * 9999)\nwarnings.warn('x')\n",
    "seeds": "import random, torch\ntorch.manual_seed(0)\nrandom.seed(0)\ntorch.set_num_threads(2)\n",
}


@pytest.mark.parametrize("source", LEGITIMATE.values(), ids=LEGITIMATE)
def test_what_honest_files_do_besides_costs_no_points(source, sandbox):
    slow = (60.0, 30.0)  # some import much, on a machine that may be busy
    assert answers(sandbox, source + "def f():\n    return 1\n", seconds=slow).f() == 1


def test_a_model_s_answer_can_become_an_array_without_detaching_it(sandbox):
    model = tiny_transformer()
    tokens, labels = torch.zeros(1, 9, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    source = "def decode(model, tokens, labels):\n    return model.eval()(tokens, labels).numpy()\n"
    with torch.no_grad():
        expected = model(tokens, labels)
    assert torch.from_numpy(answers(sandbox, source).decode(model, tokens, labels)).allclose(expected)


@pytest.mark.parametrize("source", ['x = f"' + "{1}" * 300_000 + '"\n', "x = " + "-" * 900_000 + "1", "(" * 900_000])
def test_a_file_that_is_hard_to_parse_uses_the_student_s_time_and_memory_only(source, sandbox):
    impl = Answers("lesson_5.py", source, {}, sandbox, (2.0, 1.0))
    why = impl.begin()
    assert re.match("no answer after|MemoryError|SyntaxError|its process ended", why)
    assert impl.finish() < 2.5


# --- What is lent ---


def test_an_answer_and_what_it_imports_may_write_temporary_files(sandbox):
    source = "import tempfile\ndef f():\n    return tempfile.TemporaryFile().write(b'12')\n"
    assert answers(sandbox, source).f() == 2


def test_a_file_may_import_what_its_exercise_imports_but_no_answers(sandbox):
    source = "from minimaskgit.decoding import gumbel_noise, sample_categorical\n"
    source += "from minimaskgit.schedules import Schedule, cosine\nfrom minimaskgit.transformer import Transformer\n"
    source += "import torch\ndef f():\n    return cosine(torch.zeros(1), 4)\n"
    assert answers(sandbox, source).f().tolist() == [1]
    for module, name in (("decoding", "remask"), ("decoding", "decode_steps"), ("masking", "random_mask")):
        source = f"from minimaskgit.{module} import {name}\ndef f(x: {name} | None = None):\n    return 1\n"
        source += f"def g():\n    return {name}(1)\n\ndef h():\n    class A({name}): ...\n"
        impl = answers(sandbox, source)
        assert impl.f() == 1
        for use in (impl.g, impl.h):
            with pytest.raises(StudentError, match=rf"ImportError: minimaskgit.{module}.{name} cannot be used here"):
                use()


@pytest.mark.parametrize("exercise", sorted(EXERCISE.parent.glob("lesson_*.py")), ids=lambda path: path.stem)
def test_no_exercise_is_lent_its_own_answers(exercise):
    defined = re.findall(r"^def (\w+)", exercise.read_text("utf-8"), re.MULTILINE)
    for text in lent.lent_to(exercise).values():
        compile(text, exercise.name, "exec")
        assert not any(f"def {name}(" in text for name in defined)


@pytest.mark.parametrize("wrong", sorted((ROOT / "tests" / "wrong_answers").glob("*.py")), ids=lambda path: path.stem)
def test_a_wrong_answer_of_ours_runs_in_the_sandbox_when_everything_is_lent(wrong, sandbox):
    impl = Answers(wrong.name, wrong.read_text("utf-8"), lent.everything(wrong), sandbox, (60.0, 10.0))
    impl.begin()
    with pytest.raises(StudentError, match="there is no nothing in the file"):  # so its imports have been found
        impl.nothing()


# --- Submissions ---


def test_files_folders_and_zips_are_found_under_any_name(tmp_path):
    (tmp_path / "Zoë 🎓 with spaces.py").write_text("a = 1", "utf-8")
    (tmp_path / "Ben" / "deep").mkdir(parents=True)
    (tmp_path / "Ben" / "deep" / "lesson_5.py").write_text("b = 1", "utf-8")
    (tmp_path / "Ben" / "other.py").write_text("no", "utf-8")
    with zipfile.ZipFile(tmp_path / "Cem.zip", "w") as archive:
        archive.writestr("work/lesson_5.py", "c = 1")
        archive.writestr("__MACOSX/work/lesson_5.py", "no")
    (tmp_path / "notes.txt").write_text("not a student", "utf-8")
    students, ignored = collect(tmp_path, 5)
    found = {one.student: one.source for one in students}
    assert ignored == {"notes.txt": "neither .py nor .ipynb, folder, .zip or .tar"}
    assert found == {"Zoë 🎓 with spaces": "a = 1", "Ben": "b = 1", "Cem": "c = 1"}


def test_an_export_of_a_learning_platform_has_one_folder_per_student(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("Ada Lovelace_123_assignsubmission_file/lesson_5.py", "a = 1")
        archive.writestr("Ben/anything.py", "b = 1")
    assert [(one.student, one.source) for one in collect(tmp_path / "all.zip", 5)[0]] == [
        ("Ada Lovelace", "a = 1"),
        ("Ben", "b = 1"),
    ]


def test_ungradable_submissions_say_why_and_lead_nowhere(symlinks, tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    (tmp_path / "secret.py").write_text("secret = 1", "utf-8")
    (folder / "link.py").symlink_to(tmp_path / "secret.py")
    (folder / "inside").mkdir()
    (folder / "inside" / "lesson_5.py").symlink_to(tmp_path / "secret.py")
    with zipfile.ZipFile(folder / "astray.zip", "w") as archive:
        archive.writestr("../../lesson_5.py", "up = 1")
        archive.writestr("/tmp/lesson_5.py", "absolute = 1")
    (folder / "broken.zip").write_bytes(b"PK no zip")
    (folder / "empty.py").write_text("", "utf-8")
    (folder / "bytes.py").write_bytes(b"\xff\xfe\x00")
    (folder / "two").mkdir()
    (folder / "two" / "a.py").write_text("a = 1", "utf-8")
    (folder / "two" / "b.py").write_text("b = 1", "utf-8")
    found = {one.student: one for one in collect(folder, 5)[0]}
    assert not any(one.source for one in found.values()) and all(one.trouble for one in found.values())
    assert "symbolic link" in found["link"].trouble and "symbolic link" in found["inside"].trouble
    assert "no lesson_5.py" in found["astray"].trouble
    assert found["two"].trouble == "2 files could be lesson_5.py: a.py, b.py"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "secret.py"]


def test_a_damaged_or_empty_part_of_a_zip_affects_only_that_student(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Ada/lesson_5.py", "a = 1\n" * 99)
        archive.writestr("Ben/lesson_5.py", "b = 1")
        archive.writestr("Cem/lesson_5.py", "")
        archive.writestr("Dora/lesson_5.ipynb", "no Python")
        archive.writestr("Emil.zip", b"PK no zip")
        archive.writestr("Fay.zip", zipped("work/lesson_5.py", "f = 1"))
        archive.writestr("__MACOSX/Ben/lesson_5.py", "no")
    data = bytearray((tmp_path / "all.zip").read_bytes())
    data[45:48] = b"\xff\xff\xff"  # in Ada's compressed data
    (tmp_path / "all.zip").write_bytes(data)
    found = {one.student: one for one in collect(tmp_path / "all.zip", 5)[0]}
    assert {name: one.source for name, one in found.items() if not one.trouble} == {"Ben": "b = 1", "Fay": "f = 1"}
    assert sorted(found) == ["Ada", "Ben", "Cem", "Dora", "Emil", "Fay"]
    assert found["Dora"].trouble == "cannot be read: it is not a notebook" and "empty" in found["Cem"].trouble
    (tmp_path / "one").mkdir()
    with zipfile.ZipFile(tmp_path / "one" / "Ada.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Ada/lesson_5.py", "a = 1\n" * 99)
    data = bytearray((tmp_path / "one" / "Ada.zip").read_bytes())
    data[45:48] = b"\xff\xff\xff"
    (tmp_path / "one" / "Ada.zip").write_bytes(data)
    assert "cannot be read" in collect(tmp_path / "one", 5)[0][0].trouble


@pytest.mark.parametrize(
    "names, students",
    [
        (["class/Ada/lesson_5.py", "class/Ben/src/lesson_5.py", "class/Cem.zip"], ["Ada", "Ben", "Cem"]),
        (["class/", "class/Ada.py", "class/Ben.py", "__MACOSX/class/._Ada.py"], ["Ada", "Ben"]),
        (["Ada/lesson_5.py", "Ada/helpers.py"], ["Ada"]),
        (["Ada/src/lesson_5.py", "Ada/src/tests/helpers.py"], ["Ada"]),
        (["Ada/lesson_5.py", "Ben/lesson_5.py"], ["Ada", "Ben"]),
        (["class/Ada/Ada.py", "class/ben/Ben.py", "class/ben/notes.txt"], ["Ada", "ben"]),
        (["Ada/src/lesson_5.py", "Ada/src/src.py"], ["Ada"]),
        (["class/Ada/lesson_5 (1).py", "class/Ben/5_parallel_decoding.py", "class/Ben/helper.py"], ["Ada", "Ben"]),
    ],
)
def test_a_zip_may_have_all_students_in_one_folder(tmp_path, names, students):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in names:
            archive.writestr(name, zipped("lesson_5.py", "f = 1") if name.endswith(".zip") else "f = 1")
    found, _ = collect(tmp_path / "all.zip", 5)
    assert [(one.student, one.source) for one in found] == [(student, "f = 1") for student in students]


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": "def no(): ...", "metadata": {"tags": ["answer"]}},
        {"cell_type": "code", "source": ["import math\n", "from nowhere import (\n", "  a)\n", "boom = 1 / 0\n"]},
        {"cell_type": "code", "source": "from math import e, \\\n    tau  # (2 pi\nimport cmath  # (more\n"},
        {"cell_type": "code", "source": 's = """\nfrom the left to the right\n"""\n%%bash\nimport x.png y\n'},
        {
            "cell_type": "code",
            "source": "from __future__ import annotations\n%%time\nx = 1",
            "metadata": {"tags": ["answer"]},
        },
        {
            "cell_type": "code",
            "source": 'y = math.pi\ncheck("unmask")  # done?\n',
            "metadata": {"tags": ["hint", "answer"]},
        },
    ]
}
WRITTEN = {
    "a.py": "s = 'é'\r\n".encode("utf-8-sig"),
    "b.py": "s = 'é'".encode("utf-16"),
    "c.py": "# -*- coding: latin-1 -*-\ns = 'é'".encode("latin-1"),
    "d.py": "# coding: gbk\ns = 'é'".encode("gbk"),
    "e.ipynb": json.dumps(NOTEBOOK).encode(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_python_is_read_in_any_usual_encoding_and_from_the_answers_of_a_notebook(name, tmp_path):
    (tmp_path / name).write_bytes(WRITTEN[name])
    ((one,), _) = collect(tmp_path, 5)
    found: dict = {}
    execution.execute(one.source, name, found)
    assert found.get("s") == "é" or (found["x"], round(found["y"], 2), "boom" in found) == (1, 3.14, False)
    assert found.get("s") == "é" or {"math", "e", "tau", "cmath"} <= set(found)


@pytest.mark.parametrize(
    "name, data",
    [
        ("a.py", b"# coding: punycode\na = 1"),
        ("a.py", b"# coding: nonsense\na = 1"),
        ("a.py", b"\xe9 = 1"),
        ("a.ipynb", b"[" * 100_000),
        ("a.ipynb", b'{"cells": [{"cell_type": "code", "source": "a = 1"}]}'),
        ("a.tar.gz", gzip.compress(bytes(65 * 2**20), 1, mtime=0)),
        ("a.tgz", gzip.compress(b"no tar", mtime=0)),
        ("a.Zip", b"Rar!"),
    ],
)
def test_a_file_that_cannot_be_read_costs_the_teacher_neither_time_nor_memory(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    ((one,), _) = collect(tmp_path, 5)
    assert one.trouble.startswith("cannot be read: ") and one.student == "a"


def test_the_lesson_s_own_notebook_counts_before_files_with_other_names(tmp_path):
    for name in ("5_parallel_decoding.py", "helper.py", "lesson_4.py"):
        (tmp_path / "Ada" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "Ada" / name).write_text(f"a = {name!r}", "utf-8")
    ((one,), _) = collect(tmp_path, 5)
    assert one.source == "a = '5_parallel_decoding.py'"


def notebook(*cells: tuple[str, bool]) -> str:
    """A notebook's text as students' code runs; each cell with whether it is tagged."""
    made = [{"cell_type": "code", "source": text, "metadata": {"tags": ["answer"] * tagged}} for text, tagged in cells]
    return text_of(
        json.dumps({"cells": [{"cell_type": "code", "source": "", "metadata": None}, *made]}).encode(), ".ipynb"
    )


ANSWER = "def f(x):\n    return x + one()\n"
UNTAGGED = {
    "a helper": "print(later)\ndef one():\n    return ONE\nONE = 1\nsleep(1)\n",
    "imports": "import math; import cmath\ntry:\n    import nowhere\nexcept ImportError:\n    from math import exp\n"
    "def one():\n    return exp(0)\n",
    "a broken cell": "def one(:\n",
    "other languages": "%%bash\nls -l\n",
}


@pytest.mark.parametrize("name", UNTAGGED)
def test_definitions_and_imports_in_other_cells_of_a_notebook_count_too(name, sandbox):
    text = notebook((UNTAGGED[name], False), (ANSWER, True), ("x = f(1) / 0\n", False))
    if name in ("a helper", "imports"):
        assert answers(sandbox, text).f(1) == 2
    else:
        with pytest.raises(StudentError, match="NameError: name 'one' is not defined, in line 2 of its cell"):
            answers(sandbox, text).f(1)


def test_the_answer_in_a_second_cell_counts_though_only_its_stub_is_tagged(sandbox):
    assert (
        answers(sandbox, notebook(("def f():\n    raise NotImplementedError", True), ("def f(): return 1", False))).f()
        == 1
    )


STRAY = [
    "print(from_another_cell)",
    "f?",
    "%timeit f()\n!ls",
    "for _ in range(3):\n    %timeit f()",
    'check("f"); check("g")',
    'for name in ["f"]:\n    check(name)',
    "my_remask = mine(decoding.remask)",
    "display(f())",
    'check("f")\r\n',
    "y = (7\n  % 2)\nz = (7\n% 2)",
]


@pytest.mark.parametrize("stray", STRAY)
def test_what_students_leave_in_an_answer_s_cell_costs_no_points(stray, sandbox):
    tools = ("from minimaskgit import decoding\nfrom minimaskgit.building import check, mine", False)
    assert answers(sandbox, notebook(tools, (f"{stray}\ndef f():\n    return 1\n{stray}", True))).f() == 1


def test_a_line_that_defines_something_must_not_fail():
    left_out = execution.execute("1 / 0\nx = 1", "a.py", {})
    assert [type(error) for error in left_out] == [ZeroDivisionError]
    with pytest.raises(ZeroDivisionError):
        execution.execute("x = 1 / 0", "a.py", {})


def test_a_notebook_says_lines_as_its_cells_count_them():
    text = notebook(("a = 1\nb = 2", True), ("c = 3", True))
    assert [execution.place(text, text.split("\n").index(line) + 1) for line in ("a = 1", "b = 2", "c = 3")] == [
        "line 1 of its cell",
        "line 2 of its cell",
        "line 1 of its cell",
    ]
    assert execution.place("a = 1\nb = 2", 2) == "line 2"


def test_two_untouched_notebooks_share_nothing_of_their_own():
    path = next((ROOT / "lessons").glob("5_*.ipynb"))
    found = [Submission(name, read_answer(path)) for name in ("Ada", "Ben")]
    assert similarity.pairs(found, []) and not similarity.pairs(found, [read_answer(path)])


def test_a_student_without_a_number_is_not_called_by_an_empty_name(tmp_path):
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    (tmp_path / "comments.csv").write_text("student,comment\nAda,good\n,\n", "utf-8")
    found, _ = collect(tmp_path, 5)
    assert platforms.read_comments(tmp_path / "comments.csv", found) == {"Ada": "good"}
    with pytest.raises(UserError, match="'' is no student"):
        named(found, "")


def test_archives_of_any_kind_are_looked_into_and_only_the_answer_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "Ada.Zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("work/lesson_5.py", "a = 1")
        archive.writestr("work/.ipynb_checkpoints/lesson_5.py", "no")
        for number in range(300):  # 300 MB, if they were read
            archive.writestr(f"work/more{number}.py", b"#" * 2**20)
    for mode in ("gz", "bz2", "xz", ""):
        with tarfile.open(tmp_path / f"Ben.tar{mode and '.'}{mode}", f"w:{mode}") as archive:
            for name, text in (("x/lesson_5.py", b"b = 1"), ("x/other.py", b"no")):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
    with zipfile.ZipFile(tmp_path / "Cem.zip", "w") as archive:
        archive.writestr("inner.zip", zipped("lesson_5.py", "c = 1"))
    with zipfile.ZipFile(tmp_path / "Dora.zip", "w") as archive:
        for number in range(10_001):
            archive.writestr(str(number), "")
    tracemalloc.start()
    found, _ = collect(tmp_path, 5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {one.source for one in found} == {"a = 1", "b = 1", "c = 1", ""} and len(found) == 7 and most < 100 * 2**20
    assert "more than 10000 files" in next(one.trouble for one in found if one.student == "Dora")


def zipped(name: str, text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, text)
    return file.getvalue()


def test_an_empty_folder_is_the_teacher_s_mistake(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"no submissions|no .*missing"):
            collect(path, 5)


def test_the_child_imports_nothing_from_the_package():
    program = "import sys; sys.path.insert(0, sys.argv[1]); import protocol, confinement\n"
    program += "print('minimaskgit' in sys.modules)"
    command = [sys.executable, "-I", "-c", program, str(ROOT / "minimaskgit" / "grading")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
