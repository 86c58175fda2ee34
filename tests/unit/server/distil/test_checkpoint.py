from pathlib import Path

import pytest
import torch

from microdose_server.distil.checkpoint import as_bytes, as_tensor, read_checkpoint, write_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"u": torch.randn(3, 4).T, "blob": as_tensor(b"\x00dose"), "empty": as_tensor(b"")}
    facts = {"rng": {"state": 2**127}, "order": [3, 1], "span": None, "x": 0.1}
    write_checkpoint(tmp_path / "run", tensors, facts)
    kept = read_checkpoint(tmp_path / "run")
    assert kept is not None
    assert kept.facts == facts
    assert all(torch.equal(kept.tensors[name], value) for name, value in tensors.items())
    assert (as_bytes(kept.tensors["blob"]), as_bytes(kept.tensors["empty"])) == (b"\x00dose", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"\xff" * 40])
def test_what_is_not_whole_is_no_checkpoint(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "run"
    assert read_checkpoint(path) is None
    write_checkpoint(path, {"u": torch.zeros(9)}, {})
    path.write_bytes(damage(path.read_bytes()))
    assert read_checkpoint(path) is None
