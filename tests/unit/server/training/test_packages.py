import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from microdose.errors import BadUpload, DigestMismatch
from microdose_server.training.packages import Tensors, fingerprint, kept, unpickled

TENSORS: Tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo this must never run",)


@pytest.mark.parametrize("data", [Runs(), np.array([object()]), os.path.join], ids=type)
def test_pickles_of_anything_but_arrays_are_refused(data: object) -> None:
    with pytest.raises((BadUpload, pickle.UnpicklingError)):
        unpickled(pickle.dumps(data))


def test_the_fingerprint_is_of_names_shapes_and_values() -> None:
    known = fingerprint(TENSORS)
    assert fingerprint({"a": TENSORS["a"].copy()}) == known
    for other in ({"b": TENSORS["a"]}, {"a": TENSORS["a"].reshape(3, 2)}, {"a": TENSORS["a"] + 1}):
        assert fingerprint(other) != known


def test_weights_are_made_once_and_again_where_they_were_damaged(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Tensors:
        made.append(1)
        return TENSORS

    path = tmp_path / "cache" / "weights.safetensors"
    for _ in range(2):
        assert kept(path, fingerprint(TENSORS), make, load_file) == path
    assert len(made) == 1
    assert kept(path, "another fingerprint", make, load_file) == path
    assert len(made) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_weights_that_fail_their_check_are_not_put_in_place(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise DigestMismatch(str(path))

    path = tmp_path / "weights.safetensors"
    with pytest.raises(DigestMismatch):
        kept(path, "another", lambda: TENSORS, refuse)
    assert not path.exists()
