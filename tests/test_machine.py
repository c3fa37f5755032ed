"""The description of a machine: its processor, what it supports, and how it was limited."""

import pytest
import torch

from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import LIMITS, described, machine, pick_device, processor, published_peak

CPU = torch.device("cpu")


def test_a_machine_has_a_name_on_every_system():
    assert processor().strip()


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_a_processor_without_a_known_name_is_named_by_its_architecture(system, monkeypatch):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_: "Features : fp asimd\n")  # /proc/cpuinfo on ARM
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert processor() == "aarch64"


def test_limits_are_part_of_the_machine_s_name(monkeypatch):
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert machine(CPU)["limits"] == {} and "limited" not in described(machine(CPU))
    monkeypatch.setenv(LIMITS[0], "avx2")
    assert described(machine(CPU)).endswith(f", limited by {LIMITS[0]}=avx2")


def test_a_description_lists_what_the_processor_can_do():
    found = {"name": "Some CPU", "cores": 4, "instructions": ["AVX2", "AMX"], "limits": {}}
    assert described(found) == "Some CPU, 4 cores (AVX2, AMX)"
    assert described(found | {"instructions": []}) == "Some CPU, 4 cores"


# --- Devices ---


@pytest.mark.parametrize("name", ["cuda:1", "cuda:0", "mps:0", "cpu:1"])
def test_a_numbered_device_is_refused_in_one_line_that_says_how_to_choose_a_gpu(name, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(UserError, match=f"--device {name}: expected a device without a number") as error:
        pick_device(name)
    assert "\n" not in str(error.value)
    assert ("CUDA_VISIBLE_DEVICES=" + name[-1] in str(error.value)) == name.startswith("cuda")
    assert pick_device("cuda") == torch.device("cuda") and pick_device("auto").type == "cuda"


# --- Published speeds ---


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("A100-PCIE-40GB", 312),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165),
        # Other products, whose names contain one of the above.
        ("NVIDIA H200 NVL", None),
        ("NVIDIA L40G", None),
        ("NVIDIA A100X", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 2080", None),
    ],
)
def test_a_gpu_has_the_published_speed_of_exactly_its_product(name, teraflops, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    expected = None if teraflops is None else teraflops * 1e12
    assert published_peak(torch.device("cuda"), "bf16") == expected
    assert published_peak(torch.device("cuda"), "fp32") is None
