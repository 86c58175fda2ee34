"""Everything in one multipart request: pictures, a zip, a clip; taken as a whole or not at all."""

import os
import shutil
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import IO, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from microdose.digest import digest_of
from microdose.resources import DoseAim, Frame, Job, JobState, Page, Sequence
from microdose_server.intake.picture import read_picture
from microdose_server.intake.sandbox import Judged, Sandbox
from microdose_server.store.blobs import originals
from microdose_server.store.sequences import Sequences
from tests.photos import clip, encode, film, pack, photo
from tests.served import Serve, Served, problem

PICTURES = [(f"{n}.png", encode(photo(n))) for n in range(3)]


def upload(served: Served, *files: tuple[str, bytes], field: str = "files", **data: str) -> httpx.Response:
    parts = [(field, (name, content)) for name, content in files]
    return served.http.post("/v1/sequences:upload", files=parts, data=data)


def frames(served: Served, answer: httpx.Response) -> list[Frame]:
    """The frames of the sequence that the upload made."""
    assert answer.status_code == 202, answer.text
    job = Job.model_validate_json(answer.content)
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert job.state is JobState.QUEUED
    return Sequences(served.bus).frames(job.sequence)


def nothing_is_left(served: Served) -> bool:
    return not Page[Sequence].model_validate_json(served.http.get("/v1/sequences").content).items


def test_pictures_become_frames_in_their_order(served: Served) -> None:
    answer = upload(served, *PICTURES, name="Ferien", dose="none", lmbda="0.25", aim="teacher", refine="12")
    kept = frames(served, answer)
    assert [(frame.name, frame.digest) for frame in kept] == [(n, digest_of(d)) for n, d in PICTURES]
    sequence = Sequences(served.bus).get(answer.json()["sequence"])
    assert (sequence.name, sequence.dose, sequence.lmbda) == ("Ferien", "none", 0.25)
    assert (sequence.aim, sequence.refine) == (DoseAim.TEACHER, 12)


def test_a_zip_becomes_frames_in_natural_order(served: Served) -> None:
    archive = pack(*((f"../shots/shot{n}.png", encode(photo(n))) for n in (10, 9, 1)))
    kept = frames(served, upload(served, ("shots.zip", archive)))
    assert [frame.name for frame in kept] == ["shot1.png", "shot9.png", "shot10.png"]
    assert [frame.digest for frame in kept] == [digest_of(encode(photo(n))) for n in (1, 9, 10)]


def test_a_clip_becomes_its_frames(served: Served) -> None:
    kept = frames(served, upload(served, ("pan.mp4", film(4))))
    assert [(frame.n, frame.width, frame.height) for frame in kept] == [(n, 96, 64) for n in range(4)]
    data = originals(served.settings.data_dir).get(kept[3].digest)
    assert np.abs(read_picture(data).pixels.astype(int) - photo(3)).mean() < 8


def test_frames_get_their_turn_between_those_of_a_clip(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture is decoded at a time; the clip goes on until a frame that was put meanwhile is answered."""
    begun, answered = threading.Event(), threading.Event()

    def frames_until_answered(_: Sandbox, clip: IO[bytes]) -> Generator[Judged]:
        while not answered.is_set():
            begun.set()
            yield Judged(96, 64, (), PICTURES[0][1])

    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(Sandbox, "frames", frames_until_answered)
    served = serve()
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(upload, served, ("pan.mp4", film(1)))
        assert begun.wait(60)
        assert served.put(served.create(), 0).status_code == 201
        answered.set()
        assert frames(served, whole.result())  # were the clip first, it would have more frames than it may


BAD: dict[str, tuple[list[tuple[str, bytes]], str, str]] = {
    "nothing": ([], "unsupported-media-type", "multipart"),
    "a bad picture": ([*PICTURES, ("bad.png", PICTURES[0][1][:999])], "bad-picture", "frame 3 ('bad.png')"),
    "a picture in a zip": ([("a.zip", pack(("a.png", b"x")))], "bad-picture", "frame 0 ('a.png')"),
    "a zip among pictures": ([*PICTURES, ("a.zip", pack(*PICTURES))], "bad-upload", "alone"),
    "a clip among pictures": ([*PICTURES, ("a.mp4", film(1))], "bad-upload", "alone"),
    "an empty zip": ([("a.zip", pack())], "bad-upload", "no pictures"),
    "a bomb": ([("a.zip", pack(("a.png", bytes(8 << 20))))], "bad-upload", "bomb"),
    "a nested zip": ([("a.zip", pack(("b.zip", pack(*PICTURES))))], "bad-upload", "inside the archive"),
    "a truncated zip": ([("a.zip", pack(*PICTURES)[:-60])], "bad-upload", "damaged"),
    "a truncated clip": ([("a.mp4", film(4)[:2000])], "bad-upload", "clip"),
    "a playlist": ([("a.m3u8", b"#EXTM3U\nfile:///etc/passwd\n")], "bad-picture", "not a picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_upload_leaves_nothing(served: Served, name: str) -> None:
    files, slug, reason = BAD[name]
    found = problem(upload(served, *files), slug)
    assert reason in str(found.detail)
    assert nothing_is_left(served)
    assert frames(served, upload(served, *PICTURES))  # and the server goes on


@pytest.mark.parametrize(
    ("limits", "make", "slug"),
    [
        ({"max_frames": 2}, lambda: [("a.zip", pack(*PICTURES))], "bad-upload"),
        ({"max_frames": 2}, lambda: [("a.mp4", film(3))], "bad-upload"),
        ({"max_frames": 2}, lambda: PICTURES, "invalid-request"),
        ({"max_sequence_pixels": 2 * 96 * 64}, lambda: PICTURES, "bad-upload"),
        ({"max_pixels": 96 * 64 - 1}, lambda: [("a.mp4", film(2))], "bad-upload"),
        ({"max_picture_bytes": 1000}, lambda: PICTURES, "bad-picture"),
        ({"max_form_files": 2}, lambda: PICTURES, "invalid-request"),
        ({"max_upload_bytes": 1000, "max_form_overhead": 10}, lambda: PICTURES, "too-large"),
        ({"max_upload_bytes": 1000}, lambda: [("a.zip", pack(*PICTURES))], "bad-upload"),
    ],
)
def test_limits_are_the_settings(
    serve: Serve, limits: dict[str, Any], make: Callable[[], list[tuple[str, bytes]]], slug: str
) -> None:
    served = serve(**limits)
    problem(upload(served, *make()), slug)
    assert nothing_is_left(served)


@pytest.mark.parametrize("limits", [{"max_form_fields": 1}, {"max_form_field_bytes": 3}])
def test_fields_are_counted_and_measured(serve: Serve, limits: dict[str, Any]) -> None:
    served = serve(**limits)
    problem(upload(served, *PICTURES, name="Ferien", dose="none"), "invalid-request")
    assert nothing_is_left(served)


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"dose": "huge"}, "/dose"),
        ({"lmbda": "-1"}, "/lmbda"),
        ({"refine": "0"}, "/refine"),
        ({"aim": "x"}, "/aim"),
        ({"spin": "1"}, "/spin"),
    ],
)
def test_a_wrong_wish_is_named(served: Served, data: dict[str, str], pointer: str) -> None:
    found = problem(upload(served, *PICTURES, **data), "invalid-request")
    assert found.errors[0].pointer == pointer
    assert nothing_is_left(served)


def test_more_files_than_one_form_may_hold_are_refused(served: Served) -> None:
    most = served.settings.limits.max_form_files
    tiny = [(f"{n}.png", b"") for n in range(most + 1)]
    assert str(most) in str(problem(upload(served, *tiny), "invalid-request").detail)


def test_files_belong_in_their_field(served: Served) -> None:
    assert "'files'" in str(problem(upload(served, *PICTURES, field="pictures"), "bad-upload").detail)
    found = problem(served.http.post("/v1/sequences:upload", files=[("name", (None, "text"))]), "bad-upload")
    assert "no file" in str(found.detail)


def test_a_form_that_is_none_is_refused(served: Served) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x\r\n", b"garbage", b"--x\r\nContent-Disposition: nothing\r\n\r\n\r\n--x--\r\n"):
        answer = served.http.post("/v1/sequences:upload", content=body, headers=headers)
        assert answer.status_code == 422
        problem(answer, "bad-upload" if body == b"" else answer.json()["type"].rpartition("/")[2])


def test_a_picture_may_have_no_name(served: Served) -> None:
    (frame,) = frames(served, upload(served, ("/", encode(Image.fromarray(photo())))))
    assert frame.name is None


def half_flat() -> bytes:
    picture = photo()
    picture[16:] = 128
    return encode(picture, "BMP")


@pytest.mark.parametrize(
    ("name", "data"),
    [("flat.zip", pack(("flat.bmp", half_flat()))), ("pan.mp4", clip([photo(width=384, height=256)]))],
)
def test_what_an_upload_becomes_leaves_the_reserve_as_well(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes
) -> None:
    """There is room for the form, and for as much again, but not for the pictures that are in it."""
    served = serve_with_room(serve, monkeypatch, 2 * len(data) + 2048)
    problem(upload(served, (name, data)), "no-space")
    assert nothing_is_left(served)
    assert served.originals() == []


def test_a_form_without_a_length_may_be_the_longest(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_with_room(serve, monkeypatch, 1 << 20)
    form = served.http.build_request("POST", "/v1/sequences:upload", files={"files": PICTURES[0]})
    headers = {"Content-Type": form.headers["content-type"]}
    body = form.read()
    answer = served.http.post("/v1/sequences:upload", content=iter([body]), headers=headers)
    problem(answer, "no-space")
    assert frames(served, served.http.post("/v1/sequences:upload", content=body, headers=headers))


def serve_with_room(serve: Serve, monkeypatch: pytest.MonkeyPatch, room: int) -> Served:
    """An API whose disk always has `room` bytes more than the reserve."""
    free = 10 << 30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setenv("MICRODOSE_RESERVE_BYTES", str(free - room))
    return serve()
