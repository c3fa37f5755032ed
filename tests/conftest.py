"""What all tests share: hypothesis settings, the number of torch threads, the tiny run and the data sets' location.

pytest --submission FILE         test a student's answers instead of the package's, by the laws of tests/laws
pytest --variants NUMBER         with --submission, also judge the variants that a teacher's number draws
pytest --hypothesis-seed NUMBER  try examples, and in the laws random numbers, other than the fixed ones
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import messages
import pytest
import torch
from accelerate.state import AcceleratorState
from command_line import TINY_RUN
from lawbook import same_examples

from minimaskgit import train

torch.set_num_threads(1)  # the models here are too small for a second thread
# On a Mac the tests also use the CPU: hosted Macs report a GPU but have no memory for it.
torch.backends.mps.is_available = lambda: False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--submission", type=Path, metavar="FILE", help="test a student's answers by the laws")
    parser.addoption("--variants", type=int, metavar="NUMBER", help="the teacher's number, which draws the variants")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "law(function): a requirement for a function that students write")
    same_examples(derandomize=config.getoption("--hypothesis-seed") is None)  # others, if a seed is given


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator:
    """Of a broken law a student reads more than the assertion."""
    if not pyfuncitem.config.getoption("--submission") or "impl" not in pyfuncitem.funcargs:
        return (yield)
    recorded = pyfuncitem.funcargs["impl"] = messages.Recorded(pyfuncitem.funcargs["impl"])
    with messages.told(recorded, pyfuncitem.obj, pyfuncitem.module):
        return (yield)


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    """Keep the cache of `datasets` out of the home folder, except for Tiny ImageNet, which all test runs share."""
    if "datasets" in sys.modules and "tiny_imagenet" not in request.fixturenames:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A run with all stages trained for a few steps; tests must not change its models."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    for stage in ("all", "critic", "gan", "diffusion"):
        train.main(["--out", str(folder), "--stage", stage, *TINY_RUN])
    return folder


@pytest.fixture
def own_accelerator():
    """A process that is not yet part of any training session, before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


# Requirements that not every system meets: a test that uses one of these fixtures is skipped elsewhere.


@pytest.fixture(scope="session")
def linux() -> None:
    """Namespaces, /proc and the like, which confine submissions."""
    if sys.platform != "linux":
        pytest.skip("the grader's sandbox is tested on Linux only")


@pytest.fixture(scope="session")
def posix() -> None:
    """Signals between processes, torchrun, and environments of linked files."""
    if os.name != "posix":
        pytest.skip("Windows has no such signals and environments, and its torch lacks libuv, which torchrun needs")


@pytest.fixture
def symlinks(tmp_path) -> None:
    """Permission to create symbolic links, which most Windows users lack."""
    try:
        (tmp_path / "link").symlink_to(tmp_path)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    (tmp_path / "link").unlink()


@pytest.fixture
def tiny_imagenet() -> Path:
    """The folder with Tiny ImageNet's parquet files; without it the test is skipped."""
    path = Path(__file__).parents[2] / "shared/data/tiny-imagenet"
    return path if path.is_dir() else pytest.skip("Tiny ImageNet is not available")
