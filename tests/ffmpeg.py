"""As much of the program ffmpeg as the client asks for, by PyAV, which has the same libraries."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
from av.filter import Graph
from av.video.frame import VideoFrame


def main(arguments: Sequence[str]) -> None:
    """Decode a clip to y4m on stdout as the arguments say."""
    said = dict(pairwise(arguments))
    assert said["-f"] == "yuv4mpegpipe"
    assert arguments[-1] == "-"
    try:
        with av.open(said["-i"]) as container:
            frames = list(filtered(container.decode(video=0), said["-vf"], said["-pix_fmt"]))
    except av.FFmpegError as error:
        sys.exit(f"Error opening input: {error.strerror}")
    width, height = frames[0].width, frames[0].height
    sys.stdout.buffer.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n".encode())
    for frame in frames:
        sys.stdout.buffer.write(b"FRAME\n" + frame.to_ndarray().tobytes())


def filtered(frames: Iterator[VideoFrame], chain: str, pixel_format: str) -> Iterator[VideoFrame]:
    """The frames through a chain of one filter, NAME=OPTIONS, then in a pixel format."""
    graph: Graph | None = None
    for frame in frames:
        if graph is None:
            graph = Graph()
            name, _, options = chain.partition("=")
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            graph.link_nodes(
                source, graph.add(name, options), graph.add("format", pixel_format), graph.add("buffersink")
            ).configure()
        graph.push(frame)
        found = graph.pull()
        assert isinstance(found, VideoFrame)
        yield found
