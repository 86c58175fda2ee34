"""`microdose push --live` as a program, and what an outage does to it."""

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from microdose import keys
from microdose.manifest import Event
from microdose.resources import DoseAim, DoseChoice, Frame
from microdose_client import Client, Retry
from microdose_client.frames import Form, Frames
from microdose_server.settings import Settings
from microdose_server.store.apikeys import Scope
from microdose_server.store.blobs import originals
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo
from tests.programs import Piped, microdose
from tests.served import Serve, Served
from tests.streams import entries
from tests.workers import StartWorker

PATIENCE_S = 120


@contextmanager
def push(served: Served, *arguments: str) -> Iterator[Piped]:
    """`microdose push --live --json` at work."""
    place = {"MICRODOSE_SERVER": served.url, "MICRODOSE_KEY": served.token(Scope.PUBLISH)}
    with microdose("push", "--live", "--json", *arguments, **place) as process:
        yield process


def done(process: Piped, given: bytes = b"") -> Any:
    """What it has to say in the end, once all is well."""
    out, err = process.communicate(given, timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def y4m(pictures: list[Pixels]) -> bytes:
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M)
    for pixels in pictures:
        frames.write(pixels)
    return stream.getvalue()


def drop(folder: Path, name: str, data: bytes) -> None:
    """Put a file into a watched folder as its documentation says."""
    (folder / f"{name}.part").write_bytes(data)
    (folder / f"{name}.part").rename(folder / name)


def the_live_one(served: Served) -> str:
    """The id of the one sequence there is, once it is there."""
    assert poll(lambda: bool(Sequences(served.bus).page().items), PATIENCE_S)
    (sequence,) = Sequences(served.bus).page().items
    return sequence.id


def frames_of(served: Served, sequence: str, number: int) -> list[Frame]:
    """The sequence's frames, once there are so many."""
    assert poll(lambda: len(Sequences(served.bus).frames(sequence)) >= number, PATIENCE_S)
    return Sequences(served.bus).frames(sequence)


def pixels_of(settings: Settings, frame: Frame) -> Pixels:
    with Image.open(io.BytesIO(originals(settings.data_dir).get(frame.digest))) as image:
        return np.asarray(image)


def is_complete(served: Served, sequence: str) -> bool:
    return served.bus.hget(keys.sequence(sequence), "complete") == b"true"


def test_y4m_on_stdin_becomes_frames(served: Served) -> None:
    pictures = [photo(n, 64, 48) for n in range(4)]
    with push(
        served, "-", "--name", "pipe", "--dose", "none", "--aim", "teacher", "--dose-bytes", "9999"
    ) as process:
        sent = done(process, y4m(pictures))
    assert (sent["pictures"], sent["refused"]) == (4, 0)
    sequence = Sequences(served.bus).get(sent["sequence"]["id"])
    assert (sequence.name, sequence.live, sequence.dose_bytes) == ("pipe", True, 9999)
    assert (sequence.dose, sequence.aim) == (DoseChoice.NONE, DoseAim.TEACHER)
    assert is_complete(served, sequence.id)
    for n, frame in enumerate(Sequences(served.bus).frames(sequence.id)):
        assert frame.n == n
        assert np.abs(pixels_of(served.settings, frame).astype(int) - pictures[n]).max() <= 2


def test_a_stream_that_breaks_off_is_named_and_can_go_on(served: Served) -> None:
    stream = y4m([photo(n) for n in range(2)])
    with push(served, "-") as process:
        out, err = process.communicate(stream[:-1], timeout=PATIENCE_S)
    sequence = the_live_one(served)
    assert (process.returncode, out) == (1, b"")
    assert b"y4m, frame 1: it breaks off after 18431 of 18432 bytes" in err
    assert f"go on with --resume {sequence}" in err.decode()
    assert not is_complete(served, sequence)
    with push(served, "-", "--resume", sequence) as process:
        sent = done(process, stream)
    assert sent["pictures"] == 2
    assert [frame.n for frame in Sequences(served.bus).frames(sequence)] == [0, 2, 3]


def test_a_folder_is_published_in_order_until_ctrl_c(served: Served, tmp_path: Path) -> None:
    for n in (10, 9):
        drop(tmp_path, f"shot {n}.png", encode(photo(n)))
    with push(served, str(tmp_path)) as process:
        sequence = the_live_one(served)
        frames_of(served, sequence, 2)
        drop(tmp_path, "shot 11.png", b"no picture")
        drop(tmp_path, "shot 12.png", encode(photo(12)))
        frames_of(served, sequence, 3)
        assert process.stderr is not None
        assert sequence in process.stderr.readline().decode()  # long before the end, for viewers
        process.send_signal(signal.SIGINT)
        sent = done(process)
    assert (sent["pictures"], sent["refused"], sent["sequence"]["id"]) == (3, 1, sequence)
    frames = Sequences(served.bus).frames(sequence)
    assert [(frame.n, frame.name) for frame in frames] == [
        (0, "shot 9.png"),
        (1, "shot 10.png"),
        (2, "shot 12.png"),
    ]
    assert is_complete(served, sequence)


def test_a_folder_goes_on_behind_its_last_picture(served: Served, tmp_path: Path) -> None:
    for n in range(3):
        drop(tmp_path, f"{n}.png", encode(photo(n)))
    with push(served, str(tmp_path)) as process:
        sequence = the_live_one(served)
        frames_of(served, sequence, 3)
        process.kill()
    assert not is_complete(served, sequence)
    drop(tmp_path, "3.png", encode(photo(3)))
    with push(served, str(tmp_path), "--resume", sequence) as process:
        frames_of(served, sequence, 4)
        process.send_signal(signal.SIGINT)
        assert done(process)["pictures"] == 1
    assert [frame.name for frame in Sequences(served.bus).frames(sequence)] == [f"{n}.png" for n in range(4)]


def test_a_first_picture_that_is_refused_ends_it(served: Served, tmp_path: Path) -> None:
    drop(tmp_path, "a.png", b"no picture")
    with push(served, str(tmp_path)) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"--resume" in err


class Unsteady(httpx.HTTPTransport):
    """A line of which two requests in three come to nothing, half of them after the server has seen them."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        turn = next(self.turns) % 3
        if turn == 1:
            raise httpx.ConnectError("the line is down")
        response = super().handle_request(request)
        if turn == 2:
            response.close()
            raise httpx.ReadError("the line went down")
        return response


def test_a_lost_server_costs_no_picture_and_doubles_none(served: Served) -> None:
    key = served.token(Scope.PUBLISH)
    retry = Retry(attempts=1, first_s=0.0)
    with (
        Client(served.url, key=key, transport=Unsteady(), retry=retry) as client,
        client.live() as live,
    ):
        assert [live.put(encode(photo(n)), f"{n}") for n in range(8)] == list(range(8))
    frames = Sequences(served.bus).frames(live.sequence)
    assert [(frame.n, frame.name) for frame in frames] == [(n, f"{n}") for n in range(8)]
    assert is_complete(served, live.sequence)


def test_what_was_pushed_is_published_to_its_end(
    serve: Serve, redis_url: str, start_worker: StartWorker
) -> None:
    served = serve()
    start_worker(redis_url, MICRODOSE_DATA_DIR=str(served.settings.data_dir))
    with push(served, "-", "--dose", "none", "--wait") as process:
        sent = done(process, y4m([photo(n, 64, 48) for n in range(3)]))
    assert (sent["sequence"]["state"], sent["sequence"]["results"]["pictures"]) == ("published", 3)
    events = entries(served.bus, keys.events(sent["sequence"]["id"]))
    assert [Event.model_validate_json(data).type for _, data in events] == ["init", *["segment"] * 3, "end"]
