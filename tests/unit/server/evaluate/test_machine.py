import json

import numpy as np
import pytest
import torch

from microdose_server.evaluate.machine import PACKAGES, cpu_model, gpu, installed, machine, peak_bytes


def test_all_is_stated_and_fits_json() -> None:
    found = json.loads(json.dumps(machine()))
    assert found["cpu"]
    assert found["cores"] >= 1
    assert set(PACKAGES) < set(found)
    assert found["gpu"] == gpu()


def test_the_model_is_read_from_cpuinfo() -> None:
    assert (
        cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n")
        == "Some CPU @ 2 GHz"
    )
    assert cpu_model("no such line")


def test_without_a_gpu_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu() is None


def test_gpus_are_named_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["NVIDIA H200", "NVIDIA A100", "NVIDIA H200"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert gpu() == {"name": "NVIDIA A100, NVIDIA H200", "count": 3, "cuda": "12.8"}


def test_the_most_memory_of_a_process_never_falls() -> None:
    before = peak_bytes("cpu")
    kept = np.ones(40_000_000)
    after = peak_bytes("cpu")
    assert kept.nbytes < after
    del kept
    assert 10e6 < before <= after <= peak_bytes("cpu")


def test_an_absent_package_has_no_version() -> None:
    assert installed("numpy")
    assert installed("no-such-package") is None
