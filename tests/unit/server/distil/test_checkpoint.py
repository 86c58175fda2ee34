from collections.abc import Callable

import pytest
import torch

from microdose_server.distil.checkpoint import as_bytes, as_tensor, pack_checkpoint, parse_checkpoint


def test_round_trip() -> None:
    tensors = {"u": torch.randn(3, 4).T, "blob": as_tensor(b"\x00dose"), "empty": as_tensor(b"")}
    facts = {"rng": {"state": 2**127}, "order": [3, 1], "span": None, "x": 0.1}
    kept = parse_checkpoint(pack_checkpoint(tensors, facts))
    assert kept is not None
    assert kept.facts == facts
    assert kept.tensors.keys() == tensors.keys()
    assert all(torch.equal(kept.tensors[name], value) for name, value in tensors.items())
    assert (as_bytes(kept.tensors["blob"]), as_bytes(kept.tensors["empty"])) == (b"\x00dose", b"")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"\xff" * 40, lambda data: data[8:]]
)
def test_what_is_not_whole_is_no_checkpoint(damage: Callable[[bytes], bytes]) -> None:
    assert parse_checkpoint(damage(pack_checkpoint({"u": torch.zeros(9)}, {}))) is None
