"""Jobs over HTTP: list, look at, wait for, cancel."""

import threading

import httpx
import pytest

from microdose.resources import Job, JobState, Page
from tests.served import Served, problem, unknown


def read(served: Served, job: str, query: str = "") -> Job:
    return Job.model_validate_json(served.http.get(f"/v1/jobs/{job}{query}").content)


def test_a_job_says_how_far_it_is(served: Served) -> None:
    job = served.queued()
    assert read(served, job.id) == job
    running, _ = served.begin(job)
    assert read(served, job.id) == running
    assert running.state is JobState.RUNNING


def test_jobs_are_listed_page_by_page(served: Served) -> None:
    made = {served.queued().id for _ in range(3)}
    first = Page[Job].model_validate_json(served.http.get("/v1/jobs?limit=2").content)
    rest = Page[Job].model_validate_json(served.http.get(f"/v1/jobs?cursor={first.next}").content)
    assert {job.id for job in (*first.items, *rest.items)} == made


def test_waiting_ends_with_the_job(served: Served) -> None:
    job = served.queued()
    found: list[Job] = []
    waiting = threading.Thread(target=lambda: found.append(read(served, job.id, "?wait=30")))
    waiting.start()
    served.publish(job)
    waiting.join()
    assert found[0].state is JobState.SUCCEEDED
    assert read(served, job.id, "?wait=30") == found[0]


def test_waiting_ends_with_its_time(served: Served) -> None:
    assert read(served, served.queued().id, "?wait=0.05").state is JobState.QUEUED


def test_cancelling_ends_the_job_however_often_it_is_said(served: Served) -> None:
    job = served.queued()
    answers = [served.http.post(f"/v1/jobs/{job.id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert Job.model_validate_json(answers[1].content).state is JobState.CANCELLED
    assert served.http.get(f"/v1/sequences/{job.sequence}").json()["state"] == "cancelled"


def test_a_job_that_has_ended_stays_as_it_is(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    assert served.http.post(f"/v1/jobs/{job.id}/cancel").json()["state"] == "succeeded"


@pytest.mark.parametrize("job", [unknown(), "nonsense"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "?wait=5"), ("GET", "/events"), ("POST", "/cancel")]
)
def test_an_unknown_job_is_not_found(served: Served, method: str, path: str, job: str) -> None:
    answer: httpx.Response = served.http.request(method, f"/v1/jobs/{job}{path}")
    assert "no job" in str(problem(answer, "not-found").detail)
