"""The frames of one clip, decoded by FFmpeg through PyAV to eight-bit sRGB.

The container is chosen by the file's first bytes and opened by that demuxer alone, from a file object:
no other demuxer, protocol or file can be reached from inside a clip.
"""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from microdose.errors import BadPicture, BadUpload
from microdose_server.intake.kind import CLIP_FORMATS, HEAD, clip_format
from microdose_server.intake.picture import DEFAULT_LIMITS, Picture, check_size
from microdose_server.settings import Limits

_HD_LINES = 720
"""From this height on a clip naming no matrix is taken as BT.709, else as BT.601, as players do."""
_UNSPECIFIED = 2


def read_clip(source: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Iterator[Picture]:
    """The frames of the first video stream, upright, in presentation order.

    Raises BadUpload for no clip, no video in it, damage, more than 8 bits, transparency, or more frames or
    pixels than the limits allow. Frames yielded before that are sound, but not the clip: whoever kept them
    must drop them.
    """
    kind = clip_format(source.read(HEAD))
    source.seek(0)
    if kind is None:
        raise BadUpload(f"not a clip we read: send {CLIP_FORMATS}")
    pixels = count = 0
    try:
        with av.open(source, mode="r", format=kind) as container:
            for frame in _decoded(container, limits):
                count, pixels = count + 1, pixels + frame.width * frame.height
                if count > limits.max_frames or pixels > limits.max_sequence_pixels:
                    raise BadUpload(f"over {limits.max_frames} frames or {limits.max_sequence_pixels} pixels")
                yield _picture(frame, limits)
    except (av.FFmpegError, BadPicture, MemoryError) as error:
        raise BadUpload(f"clip, frame {count}: {_reason(error)}") from error
    if not count:
        raise BadUpload("the clip holds no frames")


def _reason(error: Exception) -> str:
    return (error.strerror or "cannot be decoded") if isinstance(error, av.FFmpegError) else str(error)


def _decoded(container: InputContainer, limits: Limits) -> Iterator[VideoFrame]:
    if not container.streams.video:
        raise BadUpload("the clip holds no video stream")
    stream = container.streams.video[0]
    # Before a decoder allocates it.
    check_size(stream.codec_context.width, stream.codec_context.height, limits)
    stream.thread_type = "AUTO"
    yield from container.decode(stream)


def _picture(frame: VideoFrame, limits: Limits) -> Picture:
    check_size(frame.width, frame.height, limits)
    depth = max(component.bits for component in frame.format.components)
    if depth > 8:
        raise BadUpload(f"the clip has {depth} bits per sample: only 8 are coded; convert it first")
    notes = ["interlaced frame taken as it is"] if frame.interlaced_frame else []
    if any(component.is_alpha for component in frame.format.components):
        if frame.to_ndarray(format="rgba")[..., 3].min() < 255:
            raise BadUpload("the clip has transparent pixels: flatten it onto a background first")
        notes.append("opaque alpha channel dropped")
    rgb = np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=_matrix(frame)), dtype=np.uint8)
    if frame.rotation % 360:
        notes.append(f"turned upright (display rotation {frame.rotation} degrees)")
        rgb = np.rot90(rgb, frame.rotation // 90)
    return Picture(np.ascontiguousarray(rgb), tuple(notes))


def _matrix(frame: VideoFrame) -> int | None:
    if frame.colorspace != _UNSPECIFIED:
        return None  # as the frame says
    return Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
