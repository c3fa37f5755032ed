"""The description of a machine: its processor, what it supports, and how it was limited."""

import pytest
import torch

from minimaskgit.common.machine import LIMITS, described, machine, processor

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
