"""Publishing a live sequence with the client, to a real server and worker."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.errors import BadUpload
from microdose.resources import SequenceCreate
from microdose_client import AsyncClient, Client
from microdose_client.live import Live, Shown
from microdose_server.store.sequences import Sequences
from tests.photos import encode, photo
from tests.served import Served


def key_of(served: Served) -> str:
    return served.http.headers["authorization"].removeprefix("Bearer ")


def is_complete(bus: redis.Redis, sequence: str) -> bool:
    return bus.hget(keys.sequence(sequence), "complete") == b"true"


def put_both(live: Live, one: Shown, other: Shown) -> None:
    live.put(one)
    live.put(other)


def test_arrays_files_and_bytes_go_up_in_order(served: Served, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(encode(photo(1)))
    with Client(served.url, key=key_of(served)) as client:
        with client.live(name="camera") as live:
            assert live.put(photo(0)) == 0
            assert live.put(tmp_path / "b.png") == 1
            live.skip()
            assert live.put(encode(photo(2)), "c") == 3
            assert not is_complete(served.bus, live.sequence)
        frames = Sequences(served.bus).frames(live.sequence)
    assert [(frame.n, frame.name) for frame in frames] == [(0, None), (1, "b.png"), (3, "c")]
    assert is_complete(served.bus, live.sequence)


def test_pictures_put_at_the_same_time_get_a_number_each(served: Served) -> None:
    pictures = [encode(photo(n)) for n in range(4)]
    with (
        Client(served.url, key=key_of(served)) as client,
        client.live() as live,
        ThreadPoolExecutor(len(pictures)) as pool,
    ):
        numbers = list(pool.map(live.put, pictures))
    assert sorted(numbers) == [0, 1, 2, 3]
    digests = {frame.n: frame.digest for frame in Sequences(served.bus).frames(live.sequence)}
    assert [digests[n] for n in numbers] == [digest_of(data) for data in pictures]


def test_an_error_leaves_the_sequence_open_for_who_resumes(served: Served) -> None:
    with Client(served.url, key=key_of(served)) as client:
        with pytest.raises(BadUpload, match="uint8") as caught, client.live() as live:
            put_both(live, photo(0), np.zeros((4, 4), np.uint8))
        assert live.sequence in caught.value.__notes__[0]
        assert not is_complete(served.bus, live.sequence)
        with client.live(resume=live.sequence) as again:
            assert again.put(photo(1)) == 2  # number 1 is left out: a discontinuity
        assert is_complete(served.bus, live.sequence)


def test_only_a_live_sequence_is_resumed_live(served: Served) -> None:
    plain = Sequences(served.bus).create(SequenceCreate()).id
    with (
        Client(served.url, key=key_of(served)) as client,
        pytest.raises(BadUpload, match="not a live one"),
        client.live(resume=plain),
    ):
        pass


def test_the_same_from_coroutines(served: Served) -> None:
    async def publish() -> str:
        async with AsyncClient(served.url, key=key_of(served)) as client, client.live() as live:
            await live.put(photo(0))
            return live.sequence

    sequence = asyncio.run(publish())
    assert [frame.n for frame in Sequences(served.bus).frames(sequence)] == [0]
    assert is_complete(served.bus, sequence)
