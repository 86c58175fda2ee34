import pytest

from microdose_server.intake.kind import HEAD, clip_format, is_zip, picture_format
from tests.photos import encode, photo

PHOTO = photo()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP"])
def test_pictures_are_known_by_their_first_bytes(form: str) -> None:
    head = encode(PHOTO, form)[:HEAD]
    assert picture_format(head) == form
    assert clip_format(head) is None
    assert not is_zip(head)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0", "mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "mp4"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"YUV4MPEG2 W64 H6", "yuv4mpegpipe"),
    ],
)
def test_clips_are_known_by_their_first_bytes(head: bytes, form: str) -> None:
    assert clip_format(head) == form
    assert picture_format(head) is None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GIF89a",
        b"%!PS-Adobe-3.0",
        b"#EXTM3U\n",
        b"ffconcat version",
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"8BPS",
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_everything_else_reaches_no_parser(head: bytes) -> None:
    assert picture_format(head) is None
    assert clip_format(head) is None
    assert not is_zip(head)


def test_zip_archives_are_known() -> None:
    assert is_zip(b"PK\x03\x04\x14\0")
    assert is_zip(b"PK\x05\x06" + bytes(18))
