import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest

from microdose.errors import BadUpload
from microdose_server.intake.clip import read_clip
from microdose_server.settings import Limits
from tests.photos import film, photo

FRAMES = 6


@pytest.fixture(scope="module")
def clip() -> bytes:
    return film()


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mjpeg"), ("avi", "mpeg4"), ("yuv4mpegpipe", "rawvideo")],
)
def test_frames_come_in_order_and_in_colour(form: str, codec: str) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pictures = list(read_clip(io.BytesIO(film(FRAMES, form, codec, pixel_format))))
    assert len(pictures) == FRAMES
    for index, picture in enumerate(pictures):
        assert picture.pixels.shape == (64, 96, 3)
        assert np.abs(picture.pixels.astype(int) - photo(index)).mean() < 8


def test_a_turned_clip_is_turned_upright(clip: bytes) -> None:
    matrix = clip.find(b"tkhd") + 4 + 40
    quarter = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = clip[:matrix] + quarter + clip[matrix + 36 :]
    plain, upright = next(read_clip(io.BytesIO(clip))), next(read_clip(io.BytesIO(turned)))
    assert np.array_equal(upright.pixels, np.rot90(plain.pixels, -1))  # the matrix says: clockwise
    assert "upright" in upright.notes[0]


def refused(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(BadUpload) as caught:
        _drain(read_clip(io.BytesIO(data), limits or Limits()))
    return str(caught.value)


def _drain(pictures: Iterator[Any]) -> None:
    for _ in pictures:
        pass


def test_what_is_no_clip_is_refused() -> None:
    assert "not a clip we read" in refused(b"")
    assert "not a clip we read" in refused(b"#EXTM3U\nfile:///etc/passwd\n")
    assert "not a clip we read" in refused(b"ffconcat version 1.0\nfile /etc/passwd\n")


def test_limits_on_frames_and_pixels(clip: bytes) -> None:
    assert "over 5 frames" in refused(clip, Limits(max_frames=5))
    assert "pixels" in refused(clip, Limits(max_sequence_pixels=96 * 64 * 5))
    assert "too large" in refused(clip, Limits(max_pixels=96 * 64 - 1))


def test_more_than_eight_bits_is_refused() -> None:
    assert "10 bits per sample" in refused(film(2, "matroska", "ffv1", "yuv420p10le"))


def test_an_alpha_channel_must_be_opaque() -> None:
    opaque = next(read_clip(io.BytesIO(film(1, "mov", "qtrle", "argb"))))
    assert opaque.notes == ("opaque alpha channel dropped",)
    assert np.array_equal(opaque.pixels, photo(0))
    clear = np.dstack([photo(0), np.full((64, 96), 128, np.uint8)])
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as container:
        stream: Any = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "argb"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        container.mux(stream.encode(None))
    assert "transparent pixels" in refused(out.getvalue())


def test_a_clip_without_video_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    assert "no video" in refused(out.getvalue())


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_clip_is_refused(clip: bytes, share: float) -> None:
    assert refused(clip[: int(len(clip) * share)])
