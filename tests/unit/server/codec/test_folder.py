from pathlib import Path

import pytest

from microdose.base import LoadedBase
from microdose.errors import DigestMismatch, NotFound
from microdose_server.codec import folder
from tests.fresh import told_by_a_fresh_interpreter


def test_a_base_comes_back(tmp_path: Path, tiny_teacher_base: LoadedBase) -> None:
    folder.save_base(tiny_teacher_base, tmp_path, "live")
    assert folder.load_base(tmp_path, "live") == tiny_teacher_base


def test_students_share_a_hyper_synthesis(tmp_path: Path, tiny_teacher_base: LoadedBase) -> None:
    for student in ("standard", "live"):
        folder.save_base(tiny_teacher_base, tmp_path, student)
    assert folder.students_of(tmp_path) == ("live", "standard")
    assert folder.load_bases(tmp_path) == dict.fromkeys(("live", "standard"), tiny_teacher_base)
    assert [path.parent for path in tmp_path.rglob("hyper.onnx")] == [tmp_path]


@pytest.mark.parametrize("name", ["standard/student.onnx", "hyper.onnx"])
def test_altered_graphs_are_refused(tmp_path: Path, tiny_teacher_base: LoadedBase, name: str) -> None:
    folder.save_base(tiny_teacher_base, tmp_path, "standard")
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


def test_a_student_that_is_not_there_is_told_which_are(tmp_path: Path, tiny_teacher_base: LoadedBase) -> None:
    folder.save_base(tiny_teacher_base, tmp_path, "live")
    for name in ("standard", "../live"):
        with pytest.raises(NotFound, match=r"there: live"):
            folder.load_base(tmp_path, name)


def test_the_shipped_bases_are_whole_and_of_one_teacher() -> None:
    bases = folder.load_bases()
    assert folder.STANDARD in bases
    most = {"live": 2.0, "standard": 6.0, "fine": 13.0}
    for profile, base in bases.items():
        assert base.document.kmac_per_pixel <= most.get(profile, 100.0)
    assert len({base.document.teacher for base in bases.values()}) == 1
    assert len({base.document.hyper.digest for base in bases.values()}) == 1


FRESH = """
import sys
from microdose_server.codec import folder
folder.load_base()
print("torch" in sys.modules)
"""


def test_needs_no_torch() -> None:
    assert told_by_a_fresh_interpreter(FRESH) == "False"
