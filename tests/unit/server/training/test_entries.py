import io
from pathlib import Path

import pytest

from microdose.errors import BadUpload
from microdose_server.training.entries import find_entries
from tests.photos import shard


def test_folders_are_read_with_all_that_is_below_them(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/deep/er/0.JPG", "c/notes.txt", "c/index.tsv", "a.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    shard(tmp_path / "a" / "s.tar", ("y.png", b"first"), ("x/1.png", b"second"), ("INDEX", b"none"))
    entries = list(find_entries(tmp_path))
    names = ["a/deep/er/0.JPG", "a/s.tar:y.png", "a/s.tar:x/1.png", "a/z.png", "a.png", "b.png"]
    assert [entry.name for entry in entries] == [str(tmp_path / name) for name in names]
    contents = []
    for entry in entries:
        with entry.open() as file:
            contents.append(file.read())
    assert contents == [b"a/deep/er/0.JPG", b"first", b"second", b"a/z.png", b"a.png", b"b.png"]


def test_a_member_is_a_file_of_its_own(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    shard(tmp_path / "s.tar", ("a.png", b"before"), ("b.png", data), ("c.png", b"behind"))
    with list(find_entries(tmp_path / "s.tar"))[1].open() as file:
        assert file.seek(0, io.SEEK_END) == len(data)
        assert file.read() == b""
        assert file.seek(-3, io.SEEK_END) == len(data) - 3
        assert file.read(10) == data[-3:]
        file.seek(20_000)
        assert file.seek(5, io.SEEK_CUR) == 20_005
        assert file.read(7) == data[20_005:20_012]
        file.seek(0)
        assert file.read() == data
        file.seek(2 * len(data))
        assert file.read() == b""


def test_a_member_with_holes_is_refused(tmp_path: Path) -> None:
    """What GNU tar makes of a sparse file does not lie in the shard as it is read."""
    header = bytearray(shard(tmp_path / "s.tar", ("a.png", b"x" * 512)).read_bytes())
    header[156:157] = b"S"  # GNU's type of such a member; its map of holes is empty
    header[257:265] = b"ustar  \0"
    header[386:483] = bytes(97)
    header[483:495] = b"00000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "s.tar").write_bytes(header)
    with pytest.raises(BadUpload, match=r"s\.tar is not a plain tar file .*holes"):
        list(find_entries(tmp_path / "s.tar"))
