"""Decoders as processes: their verdicts are those of `read_picture`, and their deaths cost one picture."""

import io
import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from microdose.errors import BadPicture, BadUpload
from microdose_server.intake.picture import read_picture
from microdose_server.intake.sandbox import Judged, Sandbox
from microdose_server.settings import MIB, Limits
from tests.photos import encode, film, photo


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """With the default limits."""
    with Sandbox(Limits()) as sandbox:
        yield sandbox


def children() -> set[int]:
    """The processes that this one has started and that still live."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(stat.parent.name))
    return found


def test_a_good_picture_is_judged_as_in_process(sandbox: Sandbox) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(), "JPEG", exif=exif)
    judged, read = sandbox.judge(BytesIO(data)), read_picture(data)
    assert (judged.width, judged.height, judged.notes) == (read.width, read.height, read.notes)


@pytest.mark.parametrize("data", [b"", b"GIF89a", encode(photo())[:2000]], ids=["empty", "gif", "cut"])
def test_a_refusal_says_why_and_the_decoder_is_kept(sandbox: Sandbox, data: bytes) -> None:
    sandbox.judge(BytesIO(encode(photo())))
    before = children()
    with pytest.raises(BadPicture, match=r"not a picture|truncated"):
        sandbox.judge(BytesIO(data))
    sandbox.judge(BytesIO(encode(photo())))
    assert children() == before


def test_too_little_memory_costs_the_picture_alone() -> None:
    large = encode(np.zeros((6000, 6000), np.uint8))
    with Sandbox(Limits(), memory=300 * MIB) as sandbox:
        with pytest.raises(BadPicture, match="memory"):
            sandbox.judge(BytesIO(large))
        assert sandbox.judge(BytesIO(encode(photo()))).width == 96


@pytest.mark.parametrize(("cpu_s", "time_s"), [(0.01, 60.0), (60.0, 0.01)])
def test_a_picture_that_takes_too_long_is_given_up(cpu_s: float, time_s: float) -> None:
    slow = encode(np.random.default_rng(0).integers(0, 255, (4000, 6000, 3), np.uint8), "WEBP", method=0)
    with (
        Sandbox(Limits(picture_cpu_s=cpu_s, picture_s=time_s)) as sandbox,
        pytest.raises(BadPicture, match="takes too much"),
    ):
        sandbox.judge(BytesIO(slow))


def test_a_decoder_that_was_killed_in_its_sleep_is_replaced() -> None:
    with Sandbox(Limits()) as sandbox:
        before = children()
        sandbox.judge(BytesIO(encode(photo())))
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert sandbox.judge(BytesIO(encode(photo()))).height == 64


def test_threads_have_a_decoder_each_and_all_end(sandbox: Sandbox) -> None:
    before = children()
    with Sandbox(Limits()) as own, ThreadPoolExecutor(4) as pool:
        judged = list(pool.map(own.judge, [BytesIO(encode(photo(n, 96 + n))) for n in range(12)]))
        assert [each.width for each in judged] == list(range(96, 108))
        assert len(children() - before) <= 4
    assert children() == before


def test_a_decoder_knows_no_secret(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@bus")
    before = children()
    with Sandbox(Limits()) as own:
        own.judge(BytesIO(encode(photo())))
        (pid,) = children() - before
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_frames_of_a_clip_come_as_png(sandbox: Sandbox) -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(film(5))
        frames = list(sandbox.frames(file))
    assert [(frame.width, frame.height) for frame in frames] == [(96, 64)] * 5
    with Image.open(io.BytesIO(frames[4].png)) as image:
        assert np.abs(np.asarray(image, int) - photo(4)).mean() < 12


def test_a_clip_is_refused_as_in_process(sandbox: Sandbox) -> None:
    before = children()
    with tempfile.TemporaryFile() as file:
        file.write(film(5)[:900])
        with pytest.raises(BadUpload, match="clip, frame 0"):
            list(sandbox.frames(file))
    assert children() == before


def test_all_frames_of_a_clip_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that leaps, so that each wait for the decoder takes a thousand seconds."""
    clock = SimpleNamespace(monotonic=partial(next, itertools.count(0, 1000)))
    monkeypatch.setattr("microdose_server.intake.sandbox.time", clock)
    taken: list[Judged] = []
    with Sandbox(Limits(clip_s=5000)) as sandbox, tempfile.TemporaryFile() as file:
        file.write(film(8))
        with pytest.raises(BadUpload, match="too much memory or time"):
            taken.extend(sandbox.frames(file))
    assert len(taken) < 8


def test_a_clip_that_stops_its_decoder_is_refused() -> None:
    with Sandbox(Limits(picture_s=0.01)) as sandbox, tempfile.TemporaryFile() as file:
        file.write(film(5))
        with pytest.raises(BadUpload, match="takes too much"):
            list(sandbox.frames(file))


NONSENSE = [b"", b"\0\0\0", b"\xff\xff\xff\xff", b"\5\0\0\0{}", b"\2\0\0\0[]", b"\2\0\0\0{}"]
NONSENSE += [b'\x0e\0\0\0{"size": 10e9}', b'\x0b\0\0\0{"size": 9}']


@pytest.mark.parametrize("said", NONSENSE)
def test_a_decoder_that_talks_nonsense_is_not_believed(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"import sys; sys.stdout.buffer.write({said!r})"
    monkeypatch.setattr("microdose_server.intake.sandbox.COMMAND", ("-c", script))
    with Sandbox(Limits()) as sandbox, pytest.raises(BadPicture, match="ended without"):
        sandbox.judge(BytesIO(encode(photo())))
