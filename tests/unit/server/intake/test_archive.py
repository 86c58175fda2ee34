import contextlib
import io
import stat
import zipfile
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.errors import BadUpload
from microdose_server.intake.archive import MAX_NAME, display_name, read_zip
from microdose_server.settings import Limits
from tests import photos
from tests.photos import encode, photo


def pack(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    return io.BytesIO(photos.pack(*members, method=method))


def names(source: io.BytesIO, limits: Limits | None = None) -> list[str]:
    return [member.name for member in read_zip(source, limits or Limits())]


def test_members_come_in_natural_order_with_their_bytes() -> None:
    data = encode(photo())
    source = pack(("b/frame10.png", b"ten"), ("b/frame2.png", data), ("a/frame11.png", b"eleven"))
    assert [(m.name, m.data) for m in read_zip(source)] == [
        ("frame11.png", b"eleven"),
        ("frame2.png", data),
        ("frame10.png", b"ten"),
    ]


def test_names_only_sort_and_label() -> None:
    source = pack(("../../etc/passwd", b"x"), ("/abs.png", b"y"), ("..\\..\\win.png", b"z"), ("a\0b", b"w"))
    assert sorted(names(source)) == ["a", "abs.png", "passwd", "win.png"]


def test_a_symbolic_link_is_only_bytes() -> None:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert [m.data for m in read_zip(out)] == [b"/etc/passwd"]


def test_litter_of_file_managers_is_passed_over() -> None:
    source = pack(
        ("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("dir/Thumbs.db", b"x"), ("dir/", b""), ("a", b"x")
    )
    assert names(source) == ["a"]


@pytest.mark.parametrize("members", [(), (("dir/", b""),), ((".DS_Store", b"x"),)])
def test_an_archive_without_pictures_is_refused(members: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(BadUpload, match="no pictures"):
        names(pack(*members))


def test_a_bomb_is_stopped_while_it_inflates() -> None:
    with pytest.raises(BadUpload, match="bomb"):
        names(pack(("bomb.png", bytes(64 << 20))))


def test_a_size_that_lies_is_found_by_counting() -> None:
    source = pack(("a.png", bytes(range(256)) * 4096))
    raw = source.getvalue()
    lying = raw.replace((1 << 20).to_bytes(4, "little"), (16).to_bytes(4, "little"))
    assert lying != raw
    with pytest.raises(BadUpload):
        names(io.BytesIO(lying))


def test_limits_on_count_member_and_sum() -> None:
    source = pack(("a", b"x" * 900), ("b", b"y" * 900))
    with pytest.raises(BadUpload, match="2 files: the limit is 1"):
        names(source, Limits(max_frames=1))
    with pytest.raises(BadUpload, match="more than 899 bytes"):
        names(source, Limits(max_picture_bytes=899))
    with pytest.raises(BadUpload, match="more than 1700 bytes"):
        names(source, Limits(max_upload_bytes=1700))


def test_how_far_a_member_may_inflate_and_how_long_a_directory_may_be_can_be_set() -> None:
    data = bytes(Random(0).choices(range(4), k=1_200_000))
    source = pack(("a.png", data))
    assert [member.data for member in read_zip(source)] == [data]
    with pytest.raises(BadUpload, match="bomb"):
        names(source, Limits(max_zip_ratio=1))
    many = pack(*((f"{n:0200}", b"") for n in range(2000)))
    assert len(names(many)) == 2000
    with pytest.raises(BadUpload, match="directory too large"):
        names(many, Limits(max_zip_read=1 << 18))


def test_a_huge_directory_costs_nothing() -> None:
    end = b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff" + (64 << 20).to_bytes(4, "little") + bytes(6)
    with pytest.raises(BadUpload, match="directory too large"):
        names(io.BytesIO(bytes(64 << 20) + end))


def test_an_encrypted_member_is_refused() -> None:
    raw = bytearray(pack(("a.png", b"x" * 50)).getvalue())
    raw[raw.find(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BadUpload, match=r"'a\.png' is encrypted"):
        names(io.BytesIO(bytes(raw)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(method: int) -> None:
    with pytest.raises(BadUpload, match="not stored or deflated"):
        names(pack(("a.png", b"x" * 50), method=method))


def test_an_archive_in_the_archive_is_refused() -> None:
    with pytest.raises(BadUpload, match="inside the archive"):
        names(pack(("inner.png", pack(("a", b"x")).getvalue())))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.99])
def test_a_truncated_archive_is_refused(share: float) -> None:
    raw = pack(("a.png", bytes(range(256)) * 9)).getvalue()
    with pytest.raises(BadUpload, match="damaged"):
        names(io.BytesIO(raw[: int(len(raw) * share)]))


@given(st.data())
def test_a_damaged_archive_is_read_or_refused_never_worse(data: st.DataObject) -> None:
    raw = bytearray(pack(("a.png", bytes(range(256))), ("b.png", b"y" * 99)).getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadUpload):
        assert len(names(io.BytesIO(bytes(raw)))) <= 2


@given(st.text())
def test_a_display_name_is_printable_and_short(text: str) -> None:
    name = display_name(text)
    assert name.isprintable()
    assert len(name) <= MAX_NAME
    assert "/" not in name
