"""The manifest over HTTP: the snapshot, what one has already, and waiting for news."""

import threading

import pytest

from microdose.digest import digest_of
from microdose.manifest import MANIFEST_TYPE
from tests.served import Served, problem


def test_the_manifest_is_the_published_one(served: Served) -> None:
    job = served.queued()
    manifest = served.publish(job)
    answer = served.http.get(f"/v1/sequences/{job.sequence}/manifest")
    assert answer.content == manifest.to_bytes()
    assert answer.headers["content-type"] == MANIFEST_TYPE
    assert answer.headers["etag"] == f'"{digest_of(answer.content)}"'
    assert answer.headers["cache-control"] == "no-cache"


def test_before_publication_there_is_none(served: Served) -> None:
    for query in ("", "?wait=0.1", "?since=0"):
        answer = served.http.get(f"/v1/sequences/{served.queued().sequence}/manifest{query}")
        assert "not published yet" in str(problem(answer, "not-found").detail)


@pytest.mark.parametrize("query", ["", "?wait=0.1"])
def test_what_one_has_is_not_sent_again(served: Served, query: str) -> None:
    job = served.queued()
    version = served.publish(job).version
    path = f"/v1/sequences/{job.sequence}/manifest{query}"
    etag = served.http.get(path).headers["etag"]
    for condition in (etag, f'"other", W/{etag}', "*"):
        answer = served.http.get(path, headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert served.http.get(path, params={"since": version}).status_code == 304
    assert served.http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert served.http.get(path, params={"since": version - 1}).status_code == 200


def test_who_waits_gets_the_publication_at_once(served: Served) -> None:
    job = served.queued()
    answers = []

    def wait() -> None:
        answers.append(served.http.get(f"/v1/sequences/{job.sequence}/manifest?wait=30"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    manifest = served.publish(job)
    waiting.join()
    assert answers[0].content == manifest.to_bytes()


@pytest.mark.parametrize("query", ["wait=-1", "wait=31", "wait=x", "since=-1", "since=x"])
def test_wrong_parameters_are_refused(served: Served, query: str) -> None:
    answer = served.http.get(f"/v1/sequences/{served.create()}/manifest?{query}")
    assert problem(answer, "invalid-request").errors[0].pointer == query.partition("=")[0]
