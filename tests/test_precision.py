"""Precision: the fast one is found by measuring, kept by a run in training, and used for decoding (lesson 9)."""

import sys
import time
from dataclasses import replace
from functools import cache

import pytest
import torch
from command_line import error_line
from sessions import tiny_session

from minimaskgit import compare, edit, evaluate, generate, train
from minimaskgit.common import precision
from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import matmul
from minimaskgit.common.precision import autocast, choose, fast_precision
from minimaskgit.runs.config import load_config
from minimaskgit.runs.run import PRETRAINED, open_run

CPU = torch.device("cpu")
KINDS = ("product", "convolution")


@pytest.fixture
def machine_with(monkeypatch):
    """Pretend that this machine multiplies at these GFLOP/s in float32 and in bfloat16."""

    def pretend(fp32: float, bf16: float) -> None:
        found = {"fp32": dict.fromkeys(KINDS, fp32), "bf16": dict.fromkeys(KINDS, bf16)}
        monkeypatch.setattr(precision, "speeds", lambda device: found)
        precision.warn_once.cache_clear()

    yield pretend
    precision.warn_once.cache_clear()


@pytest.fixture
def unmeasured(monkeypatch):
    """A machine whose speeds are not known yet; what other tests measured stays as it was."""
    monkeypatch.setattr(precision, "speeds", cache(precision.speeds.__wrapped__))


@pytest.mark.parametrize(("fp32", "bf16", "fast"), [(100, 900, "bf16"), (150, 1, "fp32"), (50, 0, "fp32")])
def test_auto_is_the_faster_precision(machine_with, capsys, fp32, bf16, fast):
    machine_with(fp32, bf16)
    assert fast_precision(CPU) == choose("auto", CPU) == fast
    assert capsys.readouterr().err == ""


def test_the_speed_of_products_alone_does_not_decide(monkeypatch):
    found = {"fp32": {"product": 100, "convolution": 100}, "bf16": {"product": 200, "convolution": 2}}
    monkeypatch.setattr(precision, "speeds", lambda device: found)
    assert fast_precision(CPU) == "fp32"


def test_a_requested_slow_precision_is_used_with_one_warning_that_has_both_speeds(machine_with, capsys):
    machine_with(150, 1.5)
    assert choose("bf16", CPU) == choose("bf16", CPU) == "bf16"
    warning = capsys.readouterr().err
    assert warning.count("warning") == 1 and "bf16 product 1.5," in warning and "fp32 product 150," in warning


def test_a_precision_that_is_less_than_twice_as_slow_is_used_without_a_warning(machine_with, capsys):
    machine_with(100, 180)
    assert choose("fp32", CPU) == "fp32" and capsys.readouterr().err == ""


def test_speeds_are_measured_once_and_leave_seeds_and_threads_unchanged(unmeasured, monkeypatch):
    torch.manual_seed(0)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = precision.speeds(CPU)
    assert set(found) == {"fp32", "bf16"} and all(value > 0 for kinds in found.values() for value in kinds.values())
    assert torch.get_num_threads() == threads and torch.get_rng_state().equal(state)
    monkeypatch.setattr(precision, "timed", None)
    assert precision.speeds(CPU) is found


def test_slow_products_are_timed_twice_at_most(unmeasured, monkeypatch):
    clock, runs = [0.0], []

    def slow(work, device):
        runs.append(work)
        clock[0] += 1.0
        return 1.0

    monkeypatch.setattr(precision, "timed", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert precision.speeds(CPU)["fp32"]["product"] == pytest.approx(2 * 128**3 / 1e9)
    assert len(runs) == 2 * 4


def test_an_unsupported_precision_has_speed_0_and_is_not_chosen(unmeasured, monkeypatch):
    def without_bf16(work, device):
        if work().dtype == torch.bfloat16:
            raise RuntimeError("not implemented for BFloat16")
        return 1e-3

    monkeypatch.setattr(precision, "timed", without_bf16)
    assert precision.speeds(CPU)["bf16"] == dict.fromkeys(KINDS, 0) and fast_precision(CPU) == "fp32"


@pytest.mark.parametrize(("asked", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_are_computed_in_the_requested_precision(asked, dtype):
    with autocast(CPU, asked):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(("speed", "side"), [(1.0, 256), (150.0, 2048)])
def test_the_speed_measurement_is_also_short_on_a_slow_machine(monkeypatch, speed, side):
    monkeypatch.setattr("minimaskgit.common.machine.speeds", lambda device: {"bf16": {"product": speed}})
    assert matmul(CPU, "bf16")[1] == 2 * side**3


@pytest.mark.usefixtures("own_accelerator")
def test_a_run_keeps_its_precision_on_another_machine(tmp_path, machine_with, capsys):
    machine_with(100, 900)
    session = tiny_session(tmp_path, precision="auto")
    assert session.config.precision == load_config(tmp_path / "config.json").precision == "bf16"
    machine_with(150, 1)
    again = tiny_session(tmp_path, precision="auto")
    assert again.config.precision == load_config(tmp_path / "config.json").precision == "bf16"
    assert "bf16 is slow on this machine" in capsys.readouterr().err


def test_a_run_is_used_in_the_precision_that_is_fast_here_not_in_that_of_its_training(
    run_folder, machine_with, tmp_path
):
    trained_in = load_config(run_folder / "config.json").precision
    for fp32, bf16, fast in ((100, 900, "bf16"), (150, 1, "fp32")):
        machine_with(fp32, bf16)
        run = open_run(run_folder, "cpu")
        assert run.precision == fast and run.config.precision == trained_in
        with run.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == precision.DTYPES[fast]
    assert open_run(run_folder, "cpu", "bf16").precision == "bf16"


def test_commands_that_decode_take_a_precision(run_folder, machine_with, tmp_path, capsys):
    machine_with(150, 1)
    out = tmp_path / "grid.png"
    generate.main(["--run", str(run_folder), "--count", "2", "--out", str(out), "--precision", "bf16"])
    assert out.exists() and "bf16 is slow on this machine" in capsys.readouterr().err


def test_settings_agree_with_the_precision_that_auto_resolved_to():
    from minimaskgit.runs.config import Config, first_difference

    auto = Config()
    assert auto.precision == "auto"
    for settled in ("bf16", "fp32"):
        assert first_difference(replace(auto, precision=settled), auto) is None
    assert first_difference(replace(auto, precision="bf16"), replace(auto, precision="fp32")) is not None


# --- int8 ---


@torch.no_grad()
def test_in_int8_the_dense_layers_hold_bytes_and_most_codes_stay_the_likeliest():
    exact, rounded = (open_run(PRETRAINED / "glyphs", "cpu", name).transformer() for name in ("fp32", "int8"))
    assert {layer.weight().dtype for layer in rounded.modules() if hasattr(layer, "scale")} == {torch.qint8}
    tokens = torch.full((10, exact.num_tokens), exact.mask_id)
    a, b = (model(tokens, torch.arange(10)) for model in (exact, rounded))
    assert 0 < (a - b).abs().mean() < 0.2 * a.std() and (a.argmax(-1) == b.argmax(-1)).float().mean() > 0.8


def test_images_and_edits_can_be_made_in_int8_but_nothing_is_trained_or_measured_in_it(run_folder, tmp_path, capsys):
    out = ["--precision", "int8", "--out", str(tmp_path / "a.png")]
    generate.main(["--run", str(run_folder), "--count", "2", "--device", "cpu", *out])
    edit.main(["--run", str(run_folder), "--box", "4,4,28,28", "--label", "1", "--device", "cpu", *out])
    for command in (train, evaluate, compare):
        line = error_line(capsys, command, "--precision", "int8")
        assert line == "error: --precision int8: expected one of auto, bf16, fp32"


def test_int8_on_a_gpu_or_without_pytorch_s_layers_is_refused_in_a_line(monkeypatch):
    with pytest.raises(UserError, match=r"--precision int8 is for the CPU, not for cuda; expected auto, bf16 or fp32"):
        choose("int8", torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(UserError, match="this version of PyTorch lacks it"):
        precision.in_int8(torch.nn.Linear(2, 2))
