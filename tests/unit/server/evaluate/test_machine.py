import json

from microdose_server.evaluate.machine import PACKAGES, cpu_model, installed, machine


def test_all_is_stated_and_fits_json() -> None:
    found = json.loads(json.dumps(machine()))
    assert found["cpu"]
    assert found["cores"] >= 1
    assert set(PACKAGES) < set(found)


def test_the_model_is_read_from_cpuinfo() -> None:
    assert (
        cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n")
        == "Some CPU @ 2 GHz"
    )
    assert cpu_model("no such line")


def test_an_absent_package_has_no_version() -> None:
    assert installed("numpy")
    assert installed("no-such-package") is None
