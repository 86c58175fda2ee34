import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microdose.errors import BadUpload, NotFound
from microdose_server.training.packages import Tensors, extracted, fingerprint, installed, unpickled

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


def test_a_member_of_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "weights.tar", "w") as files:
        member = tarfile.TarInfo("a/b")
        member.size = 5
        files.addfile(member, io.BytesIO(b"bytes"))
        folder = tarfile.TarInfo("c")
        folder.type = tarfile.DIRTYPE
        files.addfile(folder)
    assert extracted(tmp_path / "weights.tar", "a/b") == b"bytes"
    for absent in ("a/c", "c"):
        with pytest.raises(NotFound, match=rf"{absent} is not in weights\.tar"):
            extracted(tmp_path / "weights.tar", absent)


def test_a_file_of_a_package_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weighty").mkdir()
    (tmp_path / "weighty" / "a.bin").write_bytes(b"bytes")
    (tmp_path / "weighty-1.2.dist-info").mkdir()
    (tmp_path / "weighty-1.2.dist-info" / "METADATA").write_text("Name: weighty\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed("weighty==1.2 --hash=sha256:0", "weighty/a.bin") == b"bytes"
    for requirement, file in (("weighty==1.3", "a.bin"), ("weighty==1.2", "b.bin"), ("absent==1", "a.bin")):
        assert installed(requirement, f"weighty/{file}") is None
