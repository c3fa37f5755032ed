"""What all tests share: how hypothesis searches, how many threads torch takes, and where data sets come from."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from command_line import TINY_RUN
from hypothesis import settings

from minimaskgit import train

# The same examples every time, and no example too slow: a busy machine is no failure.
settings.register_profile("laws", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("laws")
torch.set_num_threads(1)  # the models here are too small to share; a second thread only waits


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


@pytest.fixture
def tiny_imagenet() -> Path:
    """The folder of the real Tiny ImageNet's parquet files; without it the test is skipped."""
    path = Path(__file__).parents[2] / "shared/data/tiny-imagenet"
    return path if path.is_dir() else pytest.skip("Tiny ImageNet is not there")
