"""The package as a wheel, without the clone: the weights are included, and commands work or say what they need.

    clone ──copy──> sdist ──> wheel ──> fresh environment, which borrows its dependencies from this one

Nothing is downloaded: the wheel is built with the installed setuptools.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from command_line import TINY_RUN
from PIL import Image

from minimaskgit import notebook
from minimaskgit.common.errors import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-index", "--no-deps"]
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def ran(command: list, folder: Path) -> subprocess.CompletedProcess:
    """Run a command without PYTHONPATH, so that the wheel is imported and not the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)


def succeeded(command: list, folder: Path) -> str:
    done = ran(command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, out: Path) -> Path:
    succeeded([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", out, source], out.parent)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy to build in, because building leaves folders behind; it has another set of weights."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    for name in ("minimaskgit", "tests", "lessons", "data/pretrained", "data/results"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(clone / "data/pretrained/glyphs", clone / "data/pretrained/yours")
    return clone


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory) -> Path:
    return built(clone, tmp_path_factory.mktemp("wheel") / "out")


@pytest.fixture(scope="module")
def python(posix, wheel, tmp_path_factory) -> Path:
    """The Python of a fresh environment with the wheel.

    A .pth file adds this environment's packages after its own. Their .pth files are not read, so an editable install
    of the clone is not found.
    """
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    python, site = folder / "bin/python", next(folder.glob("lib/python*/site-packages"))
    lent = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)))
    succeeded([*PIP, "--python", python, "install", *OFFLINE, "--ignore-installed", wheel], folder)
    return python


@pytest.fixture
def run(python, tmp_path):
    """Runs Python with the wheel in an empty folder; the environment stays unchanged."""
    before = files(python.parents[1])
    yield lambda *arguments: ran([python, *arguments], tmp_path)
    assert files(python.parents[1]) == before


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}


def test_a_wheel_contains_the_package_all_weights_the_licence_and_nothing_else(clone, wheel):
    inside = contents(wheel)
    source = {name: data for name, data in files(clone / "minimaskgit").items() if not name.endswith(".md")}
    package = {f"minimaskgit/{name}": data for name, data in source.items()}
    weights = {f"minimaskgit/pretrained/{name}": data for name, data in files(clone / "data/pretrained").items()}
    assert len(weights) >= 30
    assert {name: data for name, data in inside.items() if ".dist-info/" not in name} == package | weights
    assert any(name.endswith("LICENSE") for name in inside)


def test_a_wheel_built_from_the_sdist_is_the_same(clone, wheel, tmp_path):
    succeeded([sys.executable, "-c", SDIST, tmp_path], clone)
    again = built(next(tmp_path.glob("*.tar.gz")), tmp_path / "out")
    assert contents(again) == contents(wheel)


def test_every_module_is_imported_from_the_wheel(run, python):
    program = """
import importlib, pkgutil, minimaskgit
for module in pkgutil.walk_packages(minimaskgit.__path__, "minimaskgit."):
    print(importlib.import_module(module.name).__file__)
"""
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    origins = done.stdout.split()
    assert len(origins) > 40 and all(Path(path).is_relative_to(python.parents[1]) for path in origins)


def test_pretrained_weights_are_found_by_name(run, clone, tmp_path):
    done = run("-m", "minimaskgit.generate", "--pretrained", "glyphs", "--label", "star", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "generated.png").size > (64, 32)
    done = run("-m", "minimaskgit.generate", "--pretrained", "huge")
    assert done.returncode == 2 and done.stderr.startswith("error: --pretrained huge: not in")
    assert done.stderr.count("\n") == 1
    names = sorted(path.name for path in (clone / "data/pretrained").iterdir())
    assert "yours" in names and done.stderr.endswith(f"; available: {', '.join(names)}\n")


def test_training_writes_into_the_current_folder(run, tmp_path):
    done = run("-m", "minimaskgit.train", "--stage", "tokenizer", *TINY_RUN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/demo/tokenizer/model.safetensors").exists()


def test_the_lessons_have_their_models_and_keep_runs_in_the_current_folder(run, python):
    program = "from minimaskgit import notebook; run = notebook.trained_run(); run.transformer(); print(notebook.OWN)"
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"models from {python.parents[1]}") and done.stdout.endswith("\nruns/lessons/own\n")


def test_notebook_output_needs_the_lessons_extra_and_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"IPython\.display is not installed; .*\[lessons\]"):
        notebook.road_map(3)


def test_grading_without_a_clone_is_refused_in_one_line(run):
    done = run("-m", "minimaskgit.grade", "submissions", "--lesson", "3")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: cannot grade lesson 3") and "run make grade-3 SUB" in done.stderr
