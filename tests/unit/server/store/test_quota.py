"""What a key holds is counted with what it holds."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.problem import ProblemError
from microdose.resources import Frame, SequenceCreate
from microdose_server.settings import Limits
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.sequences import Sequences

WISH = SequenceCreate()


def make_frame(n: int, size: int) -> Frame:
    return Frame(n=n, digest=digest_of(b""), size=size, width=16, height=16)


def held(client: redis.Redis, owner: str) -> tuple[int, int]:
    """Bytes and sequences."""
    found = client.hgetall(keys.api_usage(owner))
    return int(found.get(b"bytes", 0)), int(found.get(b"sequences", 0))


def test_bytes_are_those_of_the_frames_that_are_there(bus: redis.Redis) -> None:
    sequences = Sequences(bus)
    sequence = sequences.create(WISH, "me").id
    for n, size in [(0, 100), (1, 50), (0, 30), (0, 30)]:
        sequences.put_frame(sequence, make_frame(n, size), Limits())
    assert held(bus, "me") == (80, 1)
    other = sequences.create(WISH, "me").id
    sequences.put_frame(other, make_frame(0, 7), Limits())
    sequences.delete(sequence)
    assert held(bus, "me") == (7, 1)


def test_frames_that_come_in_parallel_are_each_counted_and_never_too_many(bus: redis.Redis) -> None:
    sequences, limits = Sequences(bus), Limits(quota_bytes=55)
    sequence = sequences.create(WISH, "me", limits).id

    def put(n: int) -> bool:
        try:
            return sequences.put_frame(sequence, make_frame(n, 10), limits)
        except ProblemError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(put, range(10))) == 5
    assert held(bus, "me") == (50, 1)
    assert len(sequences.frames(sequence)) == 5


def test_a_full_key_may_still_replace_by_less_and_after_a_deletion_by_more(bus: redis.Redis) -> None:
    sequences, limits = Sequences(bus), Limits(quota_bytes=100, quota_sequences=2)
    full, other = sequences.create(WISH, "me", limits).id, sequences.create(WISH, "me", limits).id
    sequences.put_frame(full, make_frame(0, 100), limits)
    for refused in (
        lambda: sequences.put_frame(other, make_frame(0, 1), limits),
        lambda: sequences.create(WISH, "me", limits),
    ):
        with pytest.raises(ProblemError) as caught:
            refused()
        assert caught.value.problem.slug == "over-quota"
    sequences.put_frame(full, make_frame(0, 99), limits)
    sequences.put_frame(other, make_frame(0, 1), limits)
    sequences.delete(full)
    sequences.put_frame(other, make_frame(1, 99), limits)
    sequences.create(WISH, "you", limits)


def test_a_keys_own_quota_counts_before_the_servers(bus: redis.Redis) -> None:
    sequences, limits = Sequences(bus), Limits(quota_bytes=10)
    key, _ = ApiKeys(bus).create([Scope.PUBLISH], quota_bytes=1000)
    sequence = sequences.create(WISH, key.id, limits).id
    sequences.put_frame(sequence, make_frame(0, 1000), limits)
    with pytest.raises(ProblemError, match=f"key {key.id} holds 1000 bytes of 1000"):
        sequences.put_frame(sequence, make_frame(1, 1), limits)
