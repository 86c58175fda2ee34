"""The pipeline from actions to pictures: bounded in what it fetches ahead, and in decoders."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from microdose.base import Descriptor
from microdose.digest import digest_of
from microdose.errors import Unavailable
from microdose.manifest import SEGMENT_TYPE
from microdose_client.crew import Crew
from microdose_client.place import Action, Announce, Show
from microdose_client.play import AHEAD, DECODERS, Player, snapshot
from microdose_client.reader import Reader
from microdose_client.source import Heard
from tests.tiny_base import TinySequence, describe, tiny_dose, tiny_sequence


class Counting:
    """A source of one sequence's blobs that counts what is asked of it."""

    name = "memory"

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        self.asked: list[Descriptor] = []

    async def manifest(self, sequence: str) -> bytes:
        raise NotImplementedError

    async def blob(self, descriptor: Descriptor) -> bytes:
        self.asked.append(descriptor)
        return self.blobs[descriptor.digest]

    async def events(self, sequence: str, after: str) -> AsyncGenerator[Heard | None]:
        yield None

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(20)


def test_a_slow_viewer_bounds_what_is_fetched(sequence: TinySequence) -> None:
    source = Counting(dict(sequence.blobs))

    async def work() -> None:
        player = Player(Reader([source]), Crew(), sequence.base, threads=1)
        async with aclosing(player.play(snapshot(sequence.manifest))) as pictures:
            for n in range(3):
                assert (await anext(pictures)).n == n
                for _ in range(50):  # as long as the feeder could wish
                    await asyncio.sleep(0)
                segments = [each for each in source.asked if each.media_type == SEGMENT_TYPE]
                assert len(segments) <= n + 1 + AHEAD

    asyncio.run(work())


def test_decoders_are_built_ahead_once_and_few_are_kept(sequence: TinySequence) -> None:
    base, segment = sequence.base, sequence.manifest.segments[0]
    doses = {epoch: tiny_dose(base, epoch, seed=epoch) for epoch in range(1, 6)}
    source = Counting(dict(sequence.blobs) | {digest_of(data): data for data in doses.values()})
    known = {epoch: (describe(data, "dose"),) for epoch, data in doses.items()}

    async def actions() -> AsyncGenerator[Action]:
        yield Show(segment, ())
        for epoch in (1, 1, 2, 3, 4, 5):
            yield Announce(epoch, known[epoch])
        yield Show(segment.model_copy(update={"n": 1}), ())

    async def work() -> list[int]:
        player = Player(Reader([source]), Crew(), base, threads=1)
        numbers = [picture.n async for picture in player.play(actions())]
        assert len(player._decoders) <= DECODERS
        return numbers

    assert asyncio.run(work()) == [0, 1]
    fetched = [each.digest for each in source.asked if each.media_type == "dose"]
    assert len(fetched) == len(set(fetched))


class Slow(Counting):
    """The same, but it keeps doses back until they may go."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        super().__init__(blobs)
        self.go = asyncio.Event()

    async def blob(self, descriptor: Descriptor) -> bytes:
        data = await super().blob(descriptor)
        if descriptor.media_type == "dose":
            await self.go.wait()
        return data


def test_few_decoders_are_built_at_once_however_many_are_announced(sequence: TinySequence) -> None:
    base = sequence.base
    doses = [tiny_dose(base, epoch, seed=epoch) for epoch in range(1, 6)]
    source = Slow(dict(sequence.blobs) | {digest_of(data): data for data in doses})

    async def actions() -> AsyncGenerator[Action]:
        for epoch, data in enumerate(doses, start=1):
            yield Announce(epoch, (describe(data, "dose"),))
        yield Show(sequence.manifest.segments[0], ())

    async def work() -> None:
        player = Player(Reader([source]), Crew(), base, threads=1)
        async with aclosing(player.play(actions())) as pictures:
            first = asyncio.ensure_future(anext(pictures))
            for _ in range(50):  # as long as the feeder could wish
                await asyncio.sleep(0)
            assert len(source.asked) == DECODERS
            source.go.set()
            assert (await first).n == 0
        assert sum(each.media_type == "dose" for each in source.asked) == len(doses)

    asyncio.run(work())


class Failing(Counting):
    """The same, but the first dose that is asked for cannot be had, and an event says when it was."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        super().__init__(blobs)
        self.failed = asyncio.Event()

    async def blob(self, descriptor: Descriptor) -> bytes:
        data = await super().blob(descriptor)
        if descriptor.media_type == "dose" and not self.failed.is_set():
            self.failed.set()
            raise Unavailable("away for a moment")
        return data


def test_a_dose_that_could_not_be_had_ahead_is_fetched_when_it_is_needed(sequence: TinySequence) -> None:
    data = tiny_dose(sequence.base, 0)
    doses = (describe(data, "dose"),)
    source = Failing(dict(sequence.blobs) | {digest_of(data): data})

    async def actions() -> AsyncGenerator[Action]:
        yield Announce(0, doses)
        await source.failed.wait()
        for _ in range(50):  # until the error has gone all its way
            await asyncio.sleep(0)
        yield Show(sequence.manifest.segments[0], doses)

    async def work() -> list[int]:
        player = Player(Reader([source]), Crew(), sequence.base, threads=1)
        return [picture.n async for picture in player.play(actions())]

    assert asyncio.run(work()) == [0]
    assert sum(each.media_type == "dose" for each in source.asked) == 2
