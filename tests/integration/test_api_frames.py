"""Frames over HTTP: idempotent, in any order, in parallel; a bad picture is refused and leaves nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from microdose.digest import digest_of, repr_digest
from microdose.resources import Frame, SequenceCreate
from microdose_server.intake.sandbox import Sandbox
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.sequences import Sequences
from tests.photos import encode, film, pack, photo
from tests.served import Serve, Served, problem

PHOTO = photo()
TRANSPARENT = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 128, np.uint8)])
BAD_PICTURES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a picture"),
    "text": (b"hello, I am a picture", "not a picture"),
    "gif": (encode(PHOTO, "GIF"), "not a picture"),
    "zip": (pack(("a.png", encode(PHOTO))), "not a picture"),
    "clip": (film(2), "not a picture"),
    "truncated": (encode(PHOTO)[:2000], "truncated"),
    "truncated jpeg": (encode(PHOTO, "JPEG")[:700], "truncated"),
    "animated": (encode(PHOTO, "WEBP", save_all=True, append_images=[Image.fromarray(photo(1))]), "animated"),
    "16 bit": (encode(np.zeros((32, 32), np.uint16)), "16 bits"),
    "cmyk": (encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"), "CMYK"),
    "alpha": (encode(TRANSPARENT), "transparent"),
    "tiny": (encode(PHOTO[:8, :8].copy()), "too small"),
    "huge": (encode(np.zeros((7000, 7000), np.uint8)), "too large"),
}


def listing(served: Served, sequence: str) -> list[Frame]:
    answer = served.http.get(f"/v1/sequences/{sequence}/frames")
    return TypeAdapter(list[Frame]).validate_json(answer.content)


def test_a_frame_is_kept_as_it_was_sent(served: Served) -> None:
    sequence, data = served.create(), encode(PHOTO, "JPEG")
    headers = {"X-Microdose-Name": "Z%C3%BCrich%2FSee%201.jpg", "Content-Type": "image/jpeg"}
    answer = served.put(sequence, 0, data, headers)
    frame = Frame.model_validate_json(answer.content)
    assert answer.status_code == 201
    assert (frame.digest, frame.size, frame.width, frame.height) == (digest_of(data), len(data), 96, 64)
    assert frame.name == "See 1.jpg"
    assert [path.read_bytes() for path in served.originals()] == [data]
    assert listing(served, sequence) == [frame]


def test_putting_again_changes_nothing_and_another_picture_replaces(served: Served) -> None:
    sequence = served.create()
    first, again = served.put(sequence, 0), served.put(sequence, 0)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert served.put(sequence, 0, encode(photo(7))).status_code == 200
    assert [frame.digest for frame in listing(served, sequence)] == [digest_of(encode(photo(7)))]


def test_frames_come_in_any_order_and_in_parallel(served: Served) -> None:
    sequence, numbers = served.create(), [7, 2, 5, 0, 6, 1, 4, 3]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: served.put(sequence, n), numbers))
    assert {answer.status_code for answer in answers} == {201}
    assert [frame.n for frame in listing(served, sequence)] == list(range(8))
    assert served.http.get(f"/v1/sequences/{sequence}").json()["frames"] == 8


def test_what_intake_changed_is_noted(served: Served) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = served.put(served.create(), 0, encode(PHOTO, "JPEG", exif=exif)).json()
    assert (frame["width"], frame["height"]) == (64, 96)
    assert frame["notes"] == ["turned upright (EXIF orientation 6)"]


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_refused_with_its_frame_and_reason(served: Served, name: str) -> None:
    data, reason = BAD_PICTURES[name]
    sequence = served.create()
    found = problem(served.put(sequence, 3, data, {"X-Microdose-Name": "x.png"}), "bad-picture")
    assert "frame 3 ('x.png'): " in str(found.detail)
    assert reason in str(found.detail)
    assert listing(served, sequence) == []
    assert served.originals() == []
    assert served.put(sequence, 3).status_code == 201  # and the server goes on


@pytest.mark.parametrize(
    ("limits", "slug", "reason"),
    [
        ({"max_pixels": 96 * 64 - 1}, "bad-picture", "too large"),
        ({"max_frames": 2}, "bad-upload", "outside 0..1"),
        ({"max_sequence_pixels": 96 * 64 - 1}, "bad-upload", "pixels"),
        ({"max_picture_bytes": 1000}, "too-large", "1000"),
    ],
)
def test_limits_are_those_of_the_settings(
    serve: Serve, limits: dict[str, Any], slug: str, reason: str
) -> None:
    served = serve(**limits)
    sequence = served.create()
    found = problem(served.put(sequence, 2), slug)
    assert reason in str(found.detail)
    assert listing(served, sequence) == []
    assert served.originals() == []


def test_a_sequence_that_is_complete_takes_no_more(served: Served) -> None:
    job = served.queued()
    found = problem(served.put(job.sequence, 1), "conflict")
    assert "queued" in str(found.detail)
    assert served.originals() == []


@pytest.mark.parametrize("kind", ["application/json", "text/html", "multipart/form-data; boundary=x"])
def test_only_pictures_are_accepted(served: Served, kind: str) -> None:
    found = problem(served.put(served.create(), 0, headers={"Content-Type": kind}), "unsupported-media-type")
    assert "image/*" in str(found.detail)


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "99999999999999999999"])
def test_a_frame_number_is_a_number(served: Served, n: str) -> None:
    answer = served.http.put(f"/v1/sequences/{served.create()}/frames/{n}", content=encode(PHOTO))
    assert problem(answer, "invalid-request").errors[0].pointer == "n"


def test_a_picture_that_is_there_already_is_not_decoded_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = served.create()
    first = served.put(sequence, 0)
    monkeypatch.setattr(Sandbox, "judge", lambda *_: pytest.fail("decoded again"))
    again = served.put(sequence, 0)
    assert (again.status_code, again.json()) == (200, first.json())


def test_the_same_picture_in_two_places_is_one_file(served: Served) -> None:
    sequence = served.create()
    digests = {served.put(sequence, n, encode(PHOTO)).json()["digest"] for n in range(3)}
    assert len(digests) == len(served.originals()) == 1


def test_bytes_that_arrive_altered_are_refused(served: Served) -> None:
    sequence, data = served.create(), encode(PHOTO)
    good = served.put(sequence, 0, data, {"Repr-Digest": repr_digest(digest_of(data))})
    assert good.status_code == 201
    found = problem(
        served.put(sequence, 1, data, {"Repr-Digest": repr_digest(digest_of(b"?"))}), "digest-mismatch"
    )
    assert digest_of(data) in str(found.detail)
    assert [frame.n for frame in listing(served, sequence)] == [0]


def test_a_key_has_its_quota(served: Served) -> None:
    data = encode(PHOTO)
    _, token = ApiKeys(served.bus).create([Scope.PUBLISH], quota_bytes=2 * len(data), quota_sequences=1)
    mine = {"Authorization": f"Bearer {token}"}
    sequence = served.http.post("/v1/sequences", headers=mine).json()["id"]
    assert [served.put(sequence, n, data, mine).status_code for n in (0, 1)] == [201, 201]
    problem(served.put(sequence, 2, data, mine), "over-quota")
    problem(served.http.post("/v1/sequences", headers=mine), "over-quota")
    form = {"files": ("a.png", data)}
    problem(served.http.post("/v1/sequences:upload", files=form, headers=mine), "over-quota")
    assert [frame.n for frame in listing(served, sequence)] == [0, 1]
    assert served.http.delete(f"/v1/sequences/{sequence}", headers=mine).status_code == 204
    assert served.http.post("/v1/sequences:upload", files=form, headers=mine).status_code == 202


def test_what_a_quota_or_a_full_live_sequence_refuses_takes_no_disk(serve: Serve) -> None:
    size = len(encode(PHOTO))
    served = serve(quota_bytes=3 * size + size // 2, max_frames=1)
    whole = served.create()
    live = Sequences(served.bus).create(SequenceCreate(live=True)).id
    assert [served.put(sequence, 0).status_code for sequence in (whole, live)] == [201, 201]
    problem(served.put(live, 1), "too-many-requests")
    other = served.create()
    assert served.put(other, 0, encode(photo(1))).status_code == 201
    problem(served.put(served.create(), 0, encode(photo(2))), "over-quota")
    kept = {digest_of(path.read_bytes()) for path in served.originals()}
    assert kept == {digest_of(encode(photo(n))) for n in (0, 1)}


def test_some_of_the_disk_stays_free(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRODOSE_RESERVE_BYTES", str(2**60))
    served = serve()
    sequence = served.create()
    problem(served.put(sequence, 0), "no-space")
    problem(served.http.post("/v1/sequences:upload", files={"files": ("a.png", encode(PHOTO))}), "no-space")
    assert listing(served, sequence) == []
    assert served.originals() == []
