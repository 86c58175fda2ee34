"""Reading y4m: what FFmpeg and our own writer write, and what neither would."""

import io
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from microdose.errors import BadUpload
from microdose_client.frames import Form, Frames
from microdose_client.y4m import MAX_LINE, Header, parse_header, read_frames
from tests.photos import Pixels, photo

HEAD = b"YUV4MPEG2 W2 H2 C444\n"


def read(data: bytes) -> list[Pixels]:
    return list(read_frames(io.BytesIO(data)))


def written(pictures: list[Pixels], pixel_format: str) -> bytes:
    """The pictures as FFmpeg writes them."""
    out = io.BytesIO()
    with av.open(out, "w", format="yuv4mpegpipe") as container:
        stream: Any = container.add_stream("wrapped_avframe", rate=25)
        height, width, _ = pictures[0].shape
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for pixels in pictures:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=Colorspace.ITU601)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def test_what_our_writer_writes_comes_back() -> None:
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M)
    pictures = [photo(n, 41, 23) for n in range(3)]
    for pixels in pictures:
        frames.write(pixels)
    found = read(stream.getvalue())
    assert len(found) == 3
    assert max(np.abs(one.astype(int) - two).max() for one, two in zip(found, pictures, strict=True)) <= 2


@pytest.mark.parametrize(
    ("pixel_format", "most"), [("yuv420p", 4.0), ("yuv422p", 3.0), ("yuv444p", 1.0), ("gray", 30.0)]
)
def test_what_ffmpeg_writes(pixel_format: str, most: float) -> None:
    pictures = [photo(n, 95, 63) for n in range(2)]
    found = read(written(pictures, pixel_format))
    assert len(found) == 2
    for one, two in zip(found, pictures, strict=True):
        assert one.shape == (63, 95, 3)
        assert np.abs(one.astype(float) - two).mean() < most


@pytest.mark.parametrize(
    ("chroma", "cb", "cr"),
    [
        ("420", [(2, 2), (2, 3), (3, 2), (3, 3)], [(2, 2), (2, 3), (3, 2), (3, 3)]),
        ("420jpeg", [(2, 2), (2, 3), (3, 2), (3, 3)], [(2, 2), (2, 3), (3, 2), (3, 3)]),
        ("420mpeg2", [(2, 2), (3, 2)], [(2, 2), (3, 2)]),
        ("420paldv", [(3, 2)], [(2, 2)]),
        ("422", [(1, 2)], [(1, 2)]),
        ("444", [(1, 1)], [(1, 1)]),
    ],
)
def test_chroma_lies_where_its_name_says(
    chroma: str, cb: list[tuple[int, int]], cr: list[tuple[int, int]]
) -> None:
    """One sample of chroma, of the second row and column, stands out: so do the pixels nearest to it."""
    header = Header(8, 6, chroma)
    rows, columns = header.chroma_shape
    for plane, colour, nearest in ((0, 2, cb), (1, 0, cr)):
        samples = np.full(header.frame_bytes, 128, np.uint8)
        samples[48 + plane * rows * columns + columns + 1] = 160
        (pixels,) = read(f"YUV4MPEG2 W8 H6 C{chroma}\nFRAME\n".encode() + samples.tobytes())
        strength = pixels[..., colour]
        assert (
            list(zip(*(at.tolist() for at in np.nonzero(strength == strength.max())), strict=True)) == nearest
        )


def test_chroma_between_two_samples_is_between_them() -> None:
    planes = np.array([128] * 4 + [100, 200] + [128] * 2, np.uint8)
    rows = {}
    for chroma in ("422", "420jpeg"):
        rows[chroma] = read(f"YUV4MPEG2 W4 H1 C{chroma}\nFRAME\n".encode() + planes.tobytes())[0][0, :, 2]
    assert rows["422"].tolist() == sorted(rows["422"].tolist())
    assert rows["422"][2] == rows["422"][3]  # the last sample lies on the third pixel
    assert rows["420jpeg"][0] < rows["420jpeg"][1] < rows["420jpeg"][2] < rows["420jpeg"][3]


def test_full_range_and_grey() -> None:
    data = b"YUV4MPEG2 W2 H1 F25:1 Ip A1:1 Cmono XCOLORRANGE=FULL XOTHER\nFRAME Ip\n" + bytes([0, 255])
    assert read(data)[0].tolist() == [[[0, 0, 0], [255, 255, 255]]]
    assert parse_header(b"YUV4MPEG2 H3 W5") == Header(5, 3, "420jpeg", False)
    assert Header(5, 3).frame_bytes == 15 + 2 * 6


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "must begin with YUV4MPEG2"),
        (b"RIFF", "a line of 4 bytes without an end"),
        (b"RIFF\n", "must begin with YUV4MPEG2"),
        (b"YUV4MPEG2 H2\n", "a side of b''"),
        (b"YUV4MPEG2 W0 H2\n", "a side of b'0'"),
        (b"YUV4MPEG2 W-1 H2\n", "a side of b'-1'"),
        (b"YUV4MPEG2 W99999 H2\n", "a side of b'99999'"),
        (b"YUV4MPEG2 W16000 H16000\n", "at most 40000000 pixels"),
        (b"YUV4MPEG2 W2 H2 C420p10\n", "C420p10: only 8 bits"),
        (b"YUV4MPEG2 " + MAX_LINE * b"X", "first line: a line of 1024 bytes without an end"),
        (HEAD + b"FRAMED\n", "frame 0: it begins with b'FRAMED'"),
        (HEAD + b"FRAME\n" + bytes(11), "frame 0: it breaks off after 11 of 12 bytes"),
        (HEAD + b"FRAME\n" + bytes(12) + b"FRAME\n" + bytes(3), "frame 1: it breaks off after 3 of 12"),
        (HEAD + b"FRAME\n" + bytes(12) + b"FRA", "frame 1: a line of 3 bytes without an end"),
        (HEAD + b"FRAME " + MAX_LINE * b"X", "frame 0: a line of 1024 bytes without an end"),
    ],
)
def test_what_is_no_y4m_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadUpload) as caught:
        read(data)
    assert words in str(caught.value)


def test_frames_before_the_damage_are_sound() -> None:
    frames = read_frames(io.BytesIO(HEAD + b"FRAME\n" + bytes(12) + b"FRAME\n"))
    assert next(frames).shape == (2, 2, 3)
    with pytest.raises(BadUpload, match="frame 1: it breaks off after 0"):
        next(frames)
