"""Server-sent events over HTTP: replay, live, resume, reset."""

import json
import threading

import httpx
import pytest

from microdose import keys
from microdose.manifest import Event, Manifest
from microdose.resources import JobEvent, JobState
from microdose_server.api.pump import PAGE, QUEUE
from microdose_server.jobs.records import Jobs
from microdose_server.store.lock import poll
from tests.listening import Sent, listening, take
from tests.served import Served, events_path, problem


def test_a_published_sequence_is_replayed_from_the_start(served: Served) -> None:
    job = served.queued()
    manifest = served.publish(job)
    with listening(served, events_path(job.sequence)) as events:
        sent = take(events, 5)
    assert [event.name for event in sent] == ["init", "segment", "segment", "segment", "end"]
    assert [event.id for event in sent] == ["1-0", "2-0", "3-0", "4-0", "5-0"]
    parsed = [Event.model_validate_json(event.data) for event in sent]
    assert [event.seq for event in parsed] == [1, 2, 3, 4, 5]
    assert [event.segment for event in parsed[1:4]] == list(manifest.segments)


@pytest.mark.parametrize("by_header", [True, False])
def test_a_listener_goes_on_where_it_was(served: Served, by_header: bool) -> None:
    job = served.queued()
    served.publish(job)
    path = events_path(job.sequence) + ("" if by_header else "?after=3-0")
    with listening(served, path, "3-0" if by_header else None) as events:
        assert [event.id for event in take(events, 2)] == ["4-0", "5-0"]


def test_who_listens_before_hears_it_live(served: Served) -> None:
    job = served.queued()
    with listening(served, events_path(job.sequence)) as events:
        served.publish(job)
        assert [event.id for event in take(events, 5)] == ["1-0", "2-0", "3-0", "4-0", "5-0"]


def test_all_listeners_hear_the_same(served: Served) -> None:
    job = served.queued()
    heard: list[list[Sent]] = []
    standing = threading.Barrier(9)

    def listen() -> None:
        with listening(served, events_path(job.sequence)) as events:
            standing.wait()
            heard.append(take(events, 5))

    threads = [threading.Thread(target=listen) for _ in range(8)]
    for thread in threads:
        thread.start()
    standing.wait()
    served.publish(job)
    for thread in threads:
        thread.join()
    assert len(heard) == 8
    assert all(events == heard[0] for events in heard)


def test_a_long_log_is_replayed_whole_and_goes_on_live(served: Served) -> None:
    count = QUEUE + 2 * PAGE
    job = served.queued()
    served.publish(job)

    def add(first: int, last: int) -> None:
        with served.bus.pipeline(transaction=False) as pipeline:
            for seq in range(first, last):
                event = Event(seq=seq, type="discontinuity").to_bytes()
                pipeline.xadd(keys.events(job.sequence), {"event": event}, id=f"{seq}-0")
            pipeline.execute()

    add(6, count)
    with listening(served, events_path(job.sequence)) as events:
        assert [event.id for event in take(events, 5)] == [f"{n}-0" for n in range(1, 6)]
        add(count, 2 * count)
        assert [event.id for event in take(events, 2 * count - 6)] == [f"{n}-0" for n in range(6, 2 * count)]


def test_who_resumes_at_trimmed_events_is_told_to_start_again(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    served.bus.xtrim(keys.events(job.sequence), maxlen=2, approximate=False)
    with listening(served, events_path(job.sequence), "1-0") as events:
        reset = next(events)
        assert (reset.name, reset.id) == ("reset", "5-0")
        assert json.loads(reset.data) == {"manifest": f"/v1/sequences/{job.sequence}/manifest"}
        event = Event(seq=6, type="discontinuity").to_bytes()
        served.bus.xadd(keys.events(job.sequence), {"event": event}, id="6-0")
        assert next(events).id == "6-0"


def test_an_id_from_another_time_is_reset(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    with listening(served, events_path(job.sequence), "99-0") as events:
        assert (reset := next(events)).name == "reset"
        assert reset.id == "5-0"


def test_viewers_of_a_removed_sequence_are_told(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    with listening(served, events_path(job.sequence), "5-0") as events:
        served.http.delete(f"/v1/sequences/{job.sequence}")
        assert [(event.name, event.id) for event in events] == [("removed", "6-0")]  # and the stream ends
    problem(served.http.get(events_path(job.sequence)), "gone")
    problem(served.http.get(f"/v1/sequences/{job.sequence}/manifest"), "gone")
    problem(served.http.get(f"/v1/sequences/{job.sequence}/manifest?wait=1"), "gone")


def test_a_log_that_was_lost_is_told_and_what_comes_then_is_heard(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    key, manifest = keys.events(job.sequence), keys.manifest(job.sequence)
    with listening(served, events_path(job.sequence), "4-0") as events:
        assert next(events).id == "5-0"
        older = Manifest.model_validate_json(served.bus.get(manifest) or b"")
        older = older.model_copy(update={"seq": 2, "version": 2, "last_event_id": "2-0"})
        with served.bus.pipeline(transaction=True) as pipeline:  # as from a back-up of before
            pipeline.set(manifest, older.to_bytes())
            pipeline.delete(key)
            for seq in (1, 2):
                event = Event(seq=seq, type="discontinuity").to_bytes()
                pipeline.xadd(key, {"event": event}, id=f"{seq}-0")
            pipeline.execute()
        assert (reset := next(events)).name == "reset"
        assert reset.id == "2-0"
        served.bus.xadd(key, {"event": Event(seq=3, type="end").to_bytes()}, id="3-0")
        assert [(event.name, event.id) for event in take(events, 1)] == [("end", "3-0")]


def test_viewers_of_a_sequence_that_was_lost_come_back_and_are_told(served: Served) -> None:
    job = served.queued()
    served.publish(job)
    with listening(served, events_path(job.sequence), "4-0") as events:
        assert next(events).id == "5-0"
        served.bus.delete(
            *(name(job.sequence) for name in (keys.events, keys.manifest, keys.sequence, keys.frames))
        )
        assert [event.name for event in events] == ["bye"]
    problem(served.http.get(events_path(job.sequence)), "not-found")


def test_who_waits_for_a_manifest_learns_that_it_was_lost(served: Served) -> None:
    job = served.queued()
    version = served.publish(job).version
    answers: list[httpx.Response] = []
    path = f"/v1/sequences/{job.sequence}/manifest?since={version}&wait=30"
    waiting = threading.Thread(target=lambda: answers.append(served.http.get(path)))
    waiting.start()
    assert poll(lambda: "microdose_listeners 1" in httpx.get(f"{served.url}/metrics").text, 60)
    served.bus.delete(*(name(job.sequence) for name in (keys.events, keys.manifest, keys.sequence)))
    waiting.join()
    problem(answers[0], "not-found")


def test_a_jobs_log_that_was_lost_ends_the_stream(served: Served) -> None:
    job = served.queued()
    path = f"/v1/jobs/{job.id}/events"
    with listening(served, path) as events:
        assert next(events).name == "state"
        served.bus.delete(keys.job_events(job.id))
        assert [event.name for event in events] == ["bye"]
    served.begin(job)
    with listening(served, path, f"{2**50}-0") as events:  # an id of another time
        assert next(events).name == "state"


@pytest.mark.parametrize("last", ["x", "1-x", "-1", "1-2-3", "²", "9" * 30])
def test_an_id_that_is_none_is_refused(served: Served, last: str) -> None:
    answer = served.http.get(events_path(served.create()), params={"after": last})
    assert last[:5] in str(problem(answer, "invalid-request").detail)


def test_a_job_is_followed_to_its_end(served: Served) -> None:
    job = served.queued()
    with listening(served, f"/v1/jobs/{job.id}/events") as events:
        running, attempt = served.begin(job)
        Jobs(served.bus).write(running.model_copy(update={"step": 3, "steps": 9}), attempt.token)
        served.http.post(f"/v1/jobs/{job.id}/cancel")
        sent = list(events)  # the stream ends by itself
    parsed = [JobEvent.model_validate_json(event.data) for event in sent]
    assert [event.name for event in sent] == ["state", "state", "progress", "state"]
    assert [event.job.state for event in parsed] == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.CANCELLED,
    ]
    assert parsed[2].job.step == 3
    with listening(served, f"/v1/jobs/{job.id}/events", sent[1].id) as events:
        assert list(events) == sent[2:]
    again = served.http.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": str(sent[-1].id)})
    assert (again.status_code, again.content) == (204, b"")


def test_a_listener_that_leaves_is_forgotten(served: Served) -> None:
    def listeners(count: int) -> bool:
        return f"microdose_listeners {count}.0\n" in httpx.get(f"{served.url}/metrics").text

    with listening(served, events_path(served.queued().sequence)):
        assert poll(lambda: listeners(1), 60)
    assert poll(lambda: listeners(0), 60)
    job = served.queued()
    served.publish(job)
    with listening(served, events_path(job.sequence)) as events:
        take(events, 5)
