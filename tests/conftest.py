"""What all tests share: how hypothesis searches, how many threads torch takes, and where data sets come from.

pytest --submission FILE         judge a student's answers in place of the package's, by the laws of tests/laws
pytest --hypothesis-seed NUMBER  try other examples, and in the laws other draws, than the ones always tried
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from command_line import TINY_RUN
from hypothesis import Phase, settings

from minimaskgit import train

torch.set_num_threads(1)  # the models here are too small to share; a second thread only waits
# On a Mac the tests take the CPU too: the GPU of a hosted one says that it is there, and has no memory to give.
torch.backends.mps.is_available = lambda: False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--submission", type=Path, metavar="FILE", help="judge a student's answers by the laws")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "law(function): what a function that a student writes must fulfil")
    # The same examples every time, unless a seed asks for others; none is too slow: a busy machine is no failure.
    same = config.getoption("--hypothesis-seed") is None
    options = {"max_examples": 50, "deadline": None, "derandomize": same, "database": None}
    # Of a broken law one example, the smallest; what else might have been different would take longer to find out.
    options |= {"report_multiple_bugs": False, "phases": [Phase.explicit, Phase.generate, Phase.shrink]}
    settings.register_profile("laws", **options)
    settings.load_profile("laws")


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    """Keep what `datasets` caches out of the home folder, but for the one set that every run shares."""
    if "datasets" in sys.modules and "tiny_imagenet" not in request.fixturenames:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A run with all stages trained, for a moment only; tests write beside it, not into its models."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    for stage in ("all", "gan", "diffusion"):
        train.main(["--out", str(folder), "--stage", stage, *TINY_RUN])
    return folder


@pytest.fixture
def own_accelerator():
    """A process that is not yet part of any training session, before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


# What not every system has: a test that asks for it is skipped elsewhere.


@pytest.fixture(scope="session")
def linux() -> None:
    """Namespaces, /proc and the like, which lock in what a student hands in."""
    if sys.platform != "linux":
        pytest.skip("the grader's lock is tried on Linux only")


@pytest.fixture(scope="session")
def posix() -> None:
    """Signals that one process sends another, and torchrun's processes that find each other."""
    if os.name != "posix":
        pytest.skip("Windows has no such signals, and its torch no libuv, which torchrun wants")


@pytest.fixture
def symlinks(tmp_path) -> None:
    """The right to make symbolic links, which Windows gives only to some."""
    try:
        (tmp_path / "link").symlink_to(tmp_path)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    (tmp_path / "link").unlink()


@pytest.fixture
def tiny_imagenet() -> Path:
    """The folder of the real Tiny ImageNet's parquet files; without it the test is skipped."""
    path = Path(__file__).parents[2] / "shared/data/tiny-imagenet"
    return path if path.is_dir() else pytest.skip("Tiny ImageNet is not there")
