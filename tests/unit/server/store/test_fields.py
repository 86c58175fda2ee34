from datetime import UTC, datetime

import redis
from hypothesis import given
from hypothesis import strategies as st

from microdose.ids import new_id
from microdose.problem import make_problem
from microdose.resources import Job, JobState
from microdose_server.store.fields import from_fields, to_field, to_fields

job = st.builds(
    Job,
    id=st.builds(new_id),
    sequence=st.builds(new_id),
    state=st.sampled_from(JobState),
    phase=st.none() | st.text(),
    step=st.integers(0, 2**53),
    loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    error=st.none() | st.builds(make_problem, st.just("internal"), st.text()),
    created=st.just(datetime.now(UTC)),
)


@given(job)
def test_a_document_survives_its_time_in_a_hash(redis_url: str, job: Job) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("job", mapping=to_fields(job))
        assert from_fields(Job, client.hgetall("job")) == job


def test_fields_kept_elsewhere_are_added_and_foreign_ones_passed_over() -> None:
    whole = Job(id=new_id(), sequence=new_id(), state=JobState.QUEUED, created=datetime.now(UTC))
    fields = {
        str(name).encode(): str(value).encode() for name, value in to_fields(whole, exclude={"step"}).items()
    }
    assert from_fields(Job, fields | {b"token": b"7", b"published:x": b"1-0"}, step=3).step == 3


def test_an_enumeration_is_its_value() -> None:
    assert to_field(JobState.RUNNING) == '"running"'
