"""Frames in a pipe: the colours that a reader gets back, and one size for all."""

import io

import av
import numpy as np
import pytest

from microdose.errors import BadPicture
from microdose_client.frames import Form, Frames

COLOURS = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)


def test_pyav_reads_y4m_of_odd_sizes() -> None:
    pixels = np.kron(COLOURS, np.ones((7, 3, 1), np.uint8))
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M, 30)
    frames.write(pixels)
    frames.write(pixels[::-1])
    stream.seek(0)
    with av.open(stream, "r", format="yuv4mpegpipe") as video:
        found = [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in video.decode(video=0)]
    assert [frame.shape for frame in found] == [pixels.shape] * 2
    assert np.abs(found[0] - pixels).max() <= 3


@pytest.mark.parametrize("form", Form)
def test_another_size_is_refused(form: Form) -> None:
    frames = Frames(io.BytesIO(), form)
    frames.write(COLOURS)
    with pytest.raises(BadPicture, match="a picture of 1x5 after 5x1"):
        frames.write(COLOURS.transpose(1, 0, 2))
