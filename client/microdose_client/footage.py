"""What the command line publishes live: a folder that is watched, a clip, or video from a pipe.

folder ─► its pictures, and those added to it   ─┐
clip ─► ffmpeg ─► y4m ─► pixels                  ├─► put, one by one, until the end or Ctrl-C
-, FILE.y4m ───► y4m ─► pixels                  ─┘
"""

import logging
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from microdose.errors import BadUpload
from microdose.problem import ProblemError
from microdose.resources import Sequence
from microdose_client.folder import watch
from microdose_client.live import Live, Shown
from microdose_client.progress import Report, Step, seldom
from microdose_client.push import PICTURE_REFUSED
from microdose_client.y4m import read_frames

PIPE = Path("-")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """What a live push has published: pictures sent and refused, and the sequence, which has ended."""

    sequence: Sequence
    pictures: int
    refused: int


def pictures_from(source: Path, pipe: BinaryIO, after: str | None = None) -> Generator[Shown]:
    """The pictures of a source, as they come; `-` is `pipe`. Of a folder, those behind the name `after`.

    Raises BadUpload for what is none of these, or is damaged.
    """
    if source == PIPE:
        yield from read_frames(pipe)
    elif source.is_dir():
        yield from watch(source, after)
    elif source.suffix.lower() == ".y4m":
        try:
            with source.open("rb") as file:
                yield from read_frames(file)
        except OSError as error:
            raise BadUpload(f"cannot read {source}: {error.strerror or error}") from error
    elif source.exists():
        yield from _decoded(source)
    else:
        raise BadUpload(f"{source} does not exist; give a folder to watch, a clip, or - for y4m from a pipe")


def publish(live: Live, pictures: Generator[Shown], report: Report) -> int:
    """Put pictures until there are no more, or until Ctrl-C; returns how many were refused and left out.

    Raises as `Live.put`; so it does where the first picture is refused, for then something else is wrong.
    """
    first, refused, report = live.next, 0, seldom(report)
    with closing(pictures), suppress(KeyboardInterrupt):
        for picture in pictures:
            try:
                live.put(picture)
            except (BadUpload, ProblemError) as error:
                if live.next == first or not _is_refusal(error):
                    raise
                refused += 1
                log.warning("left out: %s", error)
            report(Step("publishing", live.next - first, 0, live.last or ""))
    return refused


def _is_refusal(error: BadUpload | ProblemError) -> bool:
    """Whether this picture is at fault, and the next may be welcome."""
    return isinstance(error, BadUpload) or error.problem.status in PICTURE_REFUSED


def _decoded(clip: Path) -> Iterator[Shown]:
    """The frames of a clip, by the program ffmpeg: it knows the clip's colours, and turns them to ours."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise BadUpload(f"{clip} must be decoded by ffmpeg, which is not installed; or push without --live")
    colours = ["-vf", "scale=out_color_matrix=bt601:out_range=limited", "-pix_fmt", "yuv444p"]
    command = [program, "-nostdin", "-loglevel", "error", "-i", f"file:{clip}", *colours]
    with (
        TemporaryFile() as said,
        subprocess.Popen(
            [*command, "-f", "yuv4mpegpipe", "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield from read_frames(process.stdout)
            if process.wait() != 0:
                raise BadUpload(f"ffmpeg ended with {process.returncode}")
        except BadUpload as error:
            process.kill()
            process.wait()
            raise BadUpload(f"{clip}: {_last_line(said) or error}") from error
        finally:
            process.kill()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
