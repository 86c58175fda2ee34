"""`microdose watch` and `pull --follow` as programs: frames in a pipe, readings beside it."""

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image

from microdose_server.store.apikeys import Scope
from microdose_server.store.blobs import public_blobs
from tests.broadcast import Broadcast
from tests.programs import Piped, microdose
from tests.served import Served

PATIENCE_S = 120


@contextmanager
def viewing(served: Served, folder: Path, *arguments: str) -> Iterator[Piped]:
    """`microdose` at work for a viewer."""
    key, cache = served.token(Scope.VIEW), str(folder / "cache")
    with microdose(
        *arguments, MICRODOSE_SERVER=served.url, MICRODOSE_KEY=key, MICRODOSE_CACHE=cache
    ) as process:
        yield process


def end(process: Piped) -> tuple[bytes, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return out, err.decode()


def test_y4m_is_video_that_others_read(live: Broadcast, served: Served, tmp_path: Path) -> None:
    with viewing(
        served, tmp_path, "watch", live.sequence, "--start", "0", "--pipe", "y4m", "--fps", "12"
    ) as process:
        for _ in range(3):
            live.picture()
        live.say("end")
        out, err = end(process)
    assert process.returncode == 0, err
    with av.open(io.BytesIO(out), "r", format="yuv4mpegpipe") as video:
        assert video.streams.video[0].average_rate == 12
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 4
    for n, frame in enumerate(frames):
        distance = np.abs(frame.astype(np.int16) - live.expected(n))
        assert distance.max() <= 4
        assert distance.mean() <= 1
    assert err.splitlines()[-1].startswith("picture 3, epoch 0")


def test_raw_frames_are_the_pixels_and_json_goes_beside_them(
    live: Broadcast, served: Served, tmp_path: Path
) -> None:
    live.picture()
    arguments = ("watch", live.sequence, "--start", "0", "--pictures", "2", "--pipe", "raw", "--json")
    with viewing(served, tmp_path, *arguments) as process:
        out, err = end(process)
    assert out == live.expected(0).tobytes() + live.expected(1).tobytes()
    reading = json.loads(err)
    assert (reading["n"], reading["pictures"], reading["missing"], reading["epoch"]) == (1, 2, 0, 0)


def test_watching_begins_with_the_newest_and_ends_with_ctrl_c(
    live: Broadcast, served: Served, tmp_path: Path
) -> None:
    live.picture()
    with viewing(served, tmp_path, "watch", live.sequence) as process:
        assert process.stderr is not None
        first = process.stderr.readline().decode()
        process.send_signal(signal.SIGINT)
        out, err = end(process)
    assert first.startswith("watching 1 (picture 1, epoch 0")
    assert (process.returncode, err) == (0, "")
    assert out.decode().startswith("picture 1, epoch 0")


def test_a_reader_that_has_had_enough(live: Broadcast, served: Served, tmp_path: Path) -> None:
    with viewing(served, tmp_path, "watch", live.sequence, "--pipe", "raw") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        for _ in range(40):
            live.picture()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(PATIENCE_S) == 0
    assert "Exception" not in err
    assert "Error" not in err


def test_pull_follow_stays_until_the_end(live: Broadcast, served: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with viewing(served, tmp_path, "pull", live.sequence, "-o", str(out), "--follow", "--json") as process:
        live.picture()
        live.say("end")
        text, err = end(process)
    assert process.returncode == 0, err
    assert json.loads(text)["info"]["pictures"] == 2
    for n in range(2):
        with Image.open(out / f"{n:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), live.expected(n))


def test_pull_follow_counts_what_it_has_written(served: Served, tmp_path: Path) -> None:
    live = Broadcast(served.bus, public_blobs(served.settings.data_dir), window=2)
    live.epoch()
    live.picture()
    with viewing(served, tmp_path, "pull", live.sequence, "-o", str(tmp_path / "out"), "--follow") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"decoding 1 ")
        for _ in range(3):
            live.picture()
        live.say("end")
        text, err = end(process)
    assert process.returncode == 0, err
    out = tmp_path / "out"
    assert text.decode().startswith(f"4 pictures in {out}, the 2 that are still listed have ")
