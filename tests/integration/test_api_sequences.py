"""Sequences over HTTP: open, list, look at, complete, remove."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from microdose.resources import DoseAim, Job, JobState, Page, Sequence, SequenceState
from tests.served import Served, problem, unknown


def test_a_sequence_is_opened_with_what_was_asked(served: Served) -> None:
    wish = {"name": "Ferien", "dose": "none", "lmbda": 0.5}
    answer = served.http.post("/v1/sequences", json=wish)
    sequence = Sequence.model_validate_json(answer.content)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/sequences/{sequence.id}"
    assert (sequence.name, sequence.dose, sequence.lmbda) == ("Ferien", "none", 0.5)
    assert (sequence.state, sequence.frames) == (SequenceState.OPEN, 0)
    assert served.http.get(answer.headers["location"]).json() == answer.json()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("aim", DoseAim)
def test_its_doses_aim_at_what_was_asked(served: Served, aim: DoseAim, live: bool) -> None:
    answer = served.http.post("/v1/sequences", json={"aim": aim, "live": live})
    assert (answer.status_code, answer.json()["aim"]) == (201, aim)
    assert served.http.get(answer.headers["location"]).json() == answer.json()


@pytest.mark.parametrize("aim", ["moon", "", None, ["teacher"]])
def test_what_no_dose_can_aim_at_is_named(served: Served, aim: object) -> None:
    found = problem(served.http.post("/v1/sequences", json={"aim": aim}), "invalid-request")
    (error,) = found.errors
    assert error.pointer == "/aim"
    assert "'originals' or 'teacher'" in error.detail


def test_a_sequence_needs_no_wishes(served: Served) -> None:
    assert served.http.post("/v1/sequences").status_code == 201
    plain = served.http.post("/v1/sequences", json={}).json()
    assert (plain["dose"], plain["aim"]) == ("auto", "originals")


def test_sequences_are_listed_page_by_page_from_the_newest(served: Served) -> None:
    made = [served.create() for _ in range(5)]
    first = Page[Sequence].model_validate_json(served.http.get("/v1/sequences?limit=3").content)
    second = Page[Sequence].model_validate_json(
        served.http.get("/v1/sequences", params={"limit": 3, "cursor": str(first.next)}).content
    )
    assert {s.id for s in (*first.items, *second.items)} == set(made)
    assert [len(first.items), len(second.items), second.next] == [3, 2, None]


def test_completing_queues_one_job_however_often_it_is_said(served: Served) -> None:
    sequence = served.create()
    served.put(sequence, 0)
    answers = [served.http.post(f"/v1/sequences/{sequence}/complete") for _ in range(2)]
    jobs = [Job.model_validate_json(answer.content) for answer in answers]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert jobs[0] == jobs[1]
    assert jobs[0].state is JobState.QUEUED
    assert answers[0].headers["location"] == f"/v1/jobs/{jobs[0].id}"
    assert served.http.get(f"/v1/sequences/{sequence}").json()["state"] == "queued"


def test_completing_at_the_same_moment_queues_one_job(served: Served) -> None:
    sequence = served.create()
    served.put(sequence, 0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(served.http.post, 16 * [f"/v1/sequences/{sequence}/complete"]))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_completing_names_the_frames_that_are_missing(served: Served) -> None:
    sequence = served.create()
    assert "no frames" in str(
        problem(served.http.post(f"/v1/sequences/{sequence}/complete"), "bad-upload").detail
    )
    served.put(sequence, 3)
    served.put(sequence, 1)
    found = problem(served.http.post(f"/v1/sequences/{sequence}/complete"), "bad-upload")
    assert "0, 2" in str(found.detail)
    assert served.http.get(f"/v1/sequences/{sequence}").json()["state"] == "open"


def test_removing_a_sequence_cancels_its_job(served: Served) -> None:
    job = served.queued()
    assert served.http.delete(f"/v1/sequences/{job.sequence}").status_code == 204
    problem(served.http.get(f"/v1/sequences/{job.sequence}"), "not-found")
    assert served.http.get(f"/v1/jobs/{job.id}").json()["state"] == "cancelled"
    problem(served.http.delete(f"/v1/sequences/{job.sequence}"), "not-found")


def test_a_published_sequence_tells_what_it_measured(served: Served) -> None:
    job = served.queued()
    manifest = served.publish(job)
    sequence = Sequence.model_validate_json(served.http.get(f"/v1/sequences/{job.sequence}").content)
    assert sequence.state is SequenceState.PUBLISHED
    assert sequence.results is not None
    assert sequence.results.bytes == manifest.bytes


@pytest.mark.parametrize("name", ["nonsense", "A" * 26, "..%2F..", "x" * 200])
def test_what_cannot_be_an_id_is_not_found(served: Served, name: str) -> None:
    problem(served.http.get(f"/v1/sequences/{name}"), "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/complete"),
        ("GET", "/frames"),
        ("PUT", "/frames/0"),
        ("GET", "/manifest"),
        ("GET", "/manifest?wait=1"),
        ("GET", "/events"),
    ],
)
def test_an_unknown_sequence_is_not_found(served: Served, method: str, path: str) -> None:
    found = problem(served.http.request(method, f"/v1/sequences/{unknown()}{path}"), "not-found")
    assert "no sequence" in str(found.detail)
