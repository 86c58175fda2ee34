import errno
import shutil
from pathlib import Path

import pytest

from microdose.errors import NoSpace
from microdose.problem import problem_of
from microdose_server.room import room


def test_what_leaves_the_reserve_is_written(tmp_path: Path) -> None:
    with room(tmp_path, 1, reserve=1):
        (tmp_path / "file").write_bytes(b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize(("coming", "reserve"), [(0, 2**60), (2**60, 0)])
def test_what_does_not_is_refused_and_told_what_to_do(tmp_path: Path, coming: int, reserve: int) -> None:
    told = r"bytes free.*make room.*MICRODOSE_RESERVE_BYTES"
    with pytest.raises(NoSpace, match=told) as caught, room(tmp_path, coming, reserve):
        (tmp_path / "file").touch()
    assert str(tmp_path) in str(caught.value)
    assert problem_of(caught.value).slug == "no-space"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match=r"No space left on device\); make room"), room(tmp_path, 0, reserve=0):
        Path("/dev/full").write_bytes(b"x")


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, room(tmp_path, 0, reserve=0):
        shutil.rmtree(tmp_path / "nothing")
    assert caught.value.errno == errno.ENOENT
