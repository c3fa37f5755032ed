"""A run that an earlier version began and stopped in the middle of the transformer's stage.

`old_run` was written before the package had rooms. `finished.safetensors` is the transformer that the same version
ended with.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minimaskgit import generate, train
from minimaskgit.runs.config import load_config

OLD = Path(__file__).parent / "old_run"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(OLD, tmp_path / "run")


def test_an_earlier_version_s_run_resumes_to_the_same_weights_and_generates(folder, tmp_path, capsys):
    train.main(["--out", str(folder), "--resume", "--stage", "transformer", "--device", "cpu"])
    found, expected = (
        load_file(folder / "transformer" / "model.safetensors"),
        load_file(folder / "finished.safetensors"),
    )
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
    steps = [
        json.loads(line)["step"] for line in (folder / "transformer" / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert load_config(folder / "config.json") == load_config(OLD / "config.json")
    generate.main(["--run", str(folder), "--count", "2", "--device", "cpu", "--out", str(tmp_path / "two.png")])
    assert (tmp_path / "two.png").exists()
