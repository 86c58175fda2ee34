from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.errors import BadUpload, Fenced, NotFound
from microdose.ids import new_id
from microdose.problem import ProblemError, make_problem
from microdose.resources import DoseAim, DoseChoice, Frame, Sequence, SequenceCreate, SequenceState
from microdose_server.settings import Limits
from microdose_server.store.redis import text
from microdose_server.store.sequences import Sequences

LIMITS = Limits(max_frames=8, max_sequence_pixels=10_000)
RUNNING, QUEUED, FAILED = SequenceState.RUNNING, SequenceState.QUEUED, SequenceState.FAILED


@pytest.fixture
def sequences(bus: redis.Redis) -> Sequences:
    return Sequences(bus)


def make_frame(n: int, width: int = 20, height: int = 10) -> Frame:
    return Frame(n=n, digest=digest_of(b"%d" % n), size=1, width=width, height=height, name=f"é {n}.png")


def make_queued(sequences: Sequences, job: str) -> Sequence:
    """A sequence of one frame in the hands of `job`."""
    sequence = sequences.create(SequenceCreate())
    sequences.put_frame(sequence.id, make_frame(0), LIMITS)
    sequences.queue(sequence.id, job, lambda pipeline: None)
    return sequences.get(sequence.id)


def test_a_new_sequence_is_open_and_as_asked_for(sequences: Sequences) -> None:
    made = sequences.create(SequenceCreate(name="Blumen «1»", dose=DoseChoice.NONE, lmbda=0.5))
    assert sequences.get(made.id) == made
    assert (made.state, made.frames, made.name) == (SequenceState.OPEN, 0, "Blumen «1»")


def test_a_record_of_an_earlier_version_aims_at_the_teacher(bus: redis.Redis, sequences: Sequences) -> None:
    made = sequences.create(SequenceCreate())
    assert made.aim is DoseAim.ORIGINALS
    bus.hdel(keys.sequence(made.id), "aim")
    assert sequences.get(made.id) == made.model_copy(update={"aim": DoseAim.TEACHER})


def test_pages_go_from_the_newest_to_the_oldest(sequences: Sequences) -> None:
    made = [sequences.create(SequenceCreate(name=str(n))).id for n in range(5)]
    first = sequences.page(limit=2)
    second = sequences.page(limit=2, cursor=first.next)
    third = sequences.page(limit=2, cursor=second.next)
    listed = [sequence.id for page in (first, second, third) for sequence in page.items]
    assert listed == sorted(made, reverse=True)
    assert third.next is None


def test_frames_come_in_any_order_and_replace_each_other(sequences: Sequences) -> None:
    sequence = sequences.create(SequenceCreate()).id
    assert [sequences.put_frame(sequence, make_frame(n), LIMITS) for n in (2, 0, 1)] == [True] * 3
    assert sequences.put_frame(sequence, make_frame(0, width=30), LIMITS) is False
    assert sequences.frames(sequence) == [make_frame(0, width=30), make_frame(1), make_frame(2)]
    assert sequences.get(sequence).frames == 3


def test_parallel_puts_all_arrive(sequences: Sequences) -> None:
    sequence = sequences.create(SequenceCreate()).id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: sequences.put_frame(sequence, make_frame(n), LIMITS), list(range(8)) * 3))
    assert [frame.n for frame in sequences.frames(sequence)] == list(range(8))


def test_numbers_and_pixels_have_their_limits(sequences: Sequences) -> None:
    sequence = sequences.create(SequenceCreate()).id
    with pytest.raises(BadUpload, match="at most 8"):
        sequences.put_frame(sequence, make_frame(8), LIMITS)
    sequences.put_frame(sequence, make_frame(0, 100, 60), LIMITS)
    with pytest.raises(BadUpload, match="12000 pixels"):
        sequences.put_frame(sequence, make_frame(1, 100, 60), LIMITS)
    sequences.put_frame(sequence, make_frame(0, 100, 30), LIMITS)  # a smaller picture makes room
    sequences.put_frame(sequence, make_frame(1, 100, 60), LIMITS)


def test_a_queued_sequence_takes_no_frames_and_no_second_job(sequences: Sequences) -> None:
    sequence = make_queued(sequences, new_id())
    assert sequence.state == QUEUED
    with pytest.raises(ProblemError) as caught:
        sequences.put_frame(sequence.id, make_frame(1), LIMITS)
    assert caught.value.problem.slug == "conflict"
    with pytest.raises(ProblemError):
        sequences.queue(sequence.id, new_id(), lambda pipeline: None)


def test_only_a_whole_sequence_is_queued(sequences: Sequences) -> None:
    sequence = sequences.create(SequenceCreate()).id
    with pytest.raises(BadUpload, match="has no frames"):
        sequences.queue(sequence, new_id(), lambda pipeline: None)
    for n in (0, 3):
        sequences.put_frame(sequence, make_frame(n), LIMITS)
    with pytest.raises(BadUpload, match="lacks 2 frames: 1, 2"):
        sequences.queue(sequence, new_id(), lambda pipeline: None)
    assert sequences.get(sequence).state == SequenceState.OPEN


def test_what_is_not_there_is_not_found(sequences: Sequences) -> None:
    nobody = new_id()
    with pytest.raises(NotFound):
        sequences.get(nobody)
    with pytest.raises(NotFound):
        sequences.delete(nobody)
    with pytest.raises(NotFound):
        sequences.put_frame(nobody, make_frame(0), LIMITS)
    with pytest.raises(NotFound):
        sequences.queue(nobody, new_id(), lambda pipeline: None)
    assert sequences.frames(nobody) == []
    assert sequences.take_over(nobody, new_id(), RUNNING) is None


def test_each_attempt_shuts_out_the_one_before(sequences: Sequences) -> None:
    job = new_id()
    sequence = make_queued(sequences, job).id
    first = sequences.take_over(sequence, job, RUNNING)
    second = sequences.take_over(sequence, job, RUNNING)
    assert first is not None
    assert second is not None
    assert first.token < second.token
    with pytest.raises(Fenced):
        sequences.give_up(first, FAILED)
    problem = make_problem("bad-picture", "frame 0: no")
    assert sequences.give_up(second, FAILED, problem)
    assert (sequences.get(sequence).state, sequences.get(sequence).error) == (FAILED, problem)


def test_an_ended_sequence_is_out_of_its_jobs_hands(sequences: Sequences) -> None:
    job = new_id()
    sequence = make_queued(sequences, job).id
    attempt = sequences.take_over(sequence, job, FAILED)
    assert attempt is not None
    assert sequences.take_over(sequence, job, RUNNING) is None
    assert sequences.give_up(attempt, SequenceState.CANCELLED) is False
    assert sequences.get(sequence).state == FAILED


def test_an_old_job_cannot_disturb_the_new_one(sequences: Sequences) -> None:
    old, new = new_id(), new_id()
    sequence = make_queued(sequences, old).id
    sequences.take_over(sequence, old, FAILED, make_problem("internal"))
    sequences.queue(sequence, new, lambda pipeline: None)
    assert sequences.get(sequence).error is None
    attempt = sequences.take_over(sequence, new, RUNNING)
    assert attempt is not None
    assert sequences.take_over(sequence, old, FAILED) is None
    assert sequences.give_up(attempt, FAILED)  # its token is still the newest


def test_a_removed_sequence_is_gone_with_all_its_keys(sequences: Sequences, bus: redis.Redis) -> None:
    job = new_id()
    sequence = make_queued(sequences, job).id
    sequences.take_over(sequence, job, RUNNING)
    sequences.delete(sequence)
    assert sequences.page().items == ()
    left = [key for key in map(text, bus.keys("*")) if sequence in key]
    assert left == [keys.events(sequence)]
