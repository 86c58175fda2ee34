import subprocess
import sys
from pathlib import Path

import pytest

from microdose.base import LoadedBase
from microdose.errors import DigestMismatch, NotFound
from microdose_server.codec import folder


def test_a_base_comes_back(tmp_path: Path, tiny_teacher_base: LoadedBase) -> None:
    folder.save_base(tiny_teacher_base, tmp_path)
    assert folder.load_base(tmp_path) == tiny_teacher_base


@pytest.mark.parametrize("name", ["student.onnx", "hyper.onnx"])
def test_altered_graphs_are_refused(tmp_path: Path, tiny_teacher_base: LoadedBase, name: str) -> None:
    folder.save_base(tiny_teacher_base, tmp_path)
    graph = bytearray((tmp_path / name).read_bytes())
    graph[len(graph) // 2] ^= 1
    (tmp_path / name).write_bytes(graph)
    with pytest.raises(DigestMismatch):
        folder.load_base(tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no teacher called 'huge' is shipped"):
        folder.weights_folder("huge")
    with pytest.raises(NotFound, match="microdose-server distil"):
        folder.load_base(tmp_path)


def test_the_shipped_base_is_whole() -> None:
    document = folder.load_base().document
    assert document.name == folder.SHIPPED
    assert document.kmac_per_pixel <= 6.0


FRESH = """
import sys
from microdose_server.codec import folder
folder.load_base()
print("torch" in sys.modules)
"""


def test_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
