"""Answers that are kept: when they are asked for again, and when an old one has to do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from microdose.errors import BadUpstream, MicrodoseError, NotFound, Unavailable
from microdose.problem import ProblemError, make_problem
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Kept, Policy

pytestmark = pytest.mark.anyio


@dataclass
class Source:
    """Answers 1, 2, 3 … or with the `error`; `now` is the clock."""

    kept: Kept[str, int]
    now: list[float]
    error: MicrodoseError | None = None
    olds: list[int | None] = field(default_factory=list)

    async def ask(self, old: int | None) -> int:
        await asyncio.sleep(0)
        self.olds.append(old)
        if self.error:
            raise self.error
        return len(self.olds)

    async def get(self, name: str = "a", at_least: int = 0) -> int:
        return await self.kept.get(name, self.ask, lambda value: (value or 0) >= at_least)


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    now = [100.0]
    async with Flights() as flights:
        policy = Policy(fresh_s=10, stale_s=60, most=3, clock=lambda: now[0])
        yield Source(Kept[str, int](flights, policy), now)


async def test_a_fresh_answer_is_not_asked_for_again(source: Source) -> None:
    assert [await source.get() for _ in range(3)] == [1, 1, 1]
    source.now[0] += 9.9
    assert await source.get() == 1
    source.now[0] += 0.1
    assert await source.get() == 2
    assert source.olds == [None, 1]


async def test_in_its_grace_an_answer_is_renewed_while_nobody_waits(source: Source) -> None:
    async with Flights() as flights:
        policy = Policy(fresh_s=10, grace_s=10, most=3, clock=lambda: source.now[0])
        source.kept = Kept[str, int](flights, policy)
        assert await source.get() == 1
        source.now[0] += 10
        assert [await source.get() for _ in range(3)] == [1, 1, 1]
        while len(source.olds) == 1:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await source.get() == 2
        source.now[0] += 20
        assert await source.get() == 3
        assert len(source.olds) == 3


async def test_many_at_once_ask_once(source: Source) -> None:
    assert await asyncio.gather(*(source.get() for _ in range(50))) == 50 * [1]


async def test_one_that_is_not_enough_is_asked_for_again(source: Source) -> None:
    assert await source.get() == 1
    assert await source.get(at_least=2) == 2
    assert await source.get(at_least=1) == 2
    assert await source.get(at_least=9) == 3  # the best there is


async def test_one_under_way_that_is_not_enough_is_asked_for_again(source: Source) -> None:
    first = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    assert await source.get(at_least=2) == 2
    assert await first == 1


@pytest.mark.parametrize("error", [Unavailable("away"), BadUpstream("lies")])
async def test_an_old_answer_has_to_do_for_a_while(source: Source, error: MicrodoseError) -> None:
    assert await source.get() == 1
    source.error = error
    source.now[0] += 30
    assert await source.get() == 1
    assert await source.get() == 1  # and the upstream is left in peace meanwhile
    assert len(source.olds) == 2
    source.now[0] += 31
    with pytest.raises(type(error)):
        await source.get()
    source.error = None
    assert await source.get() == 4


async def test_without_an_old_answer_a_failure_is_told(source: Source) -> None:
    source.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await source.get()


async def test_that_there_is_nothing_is_kept_too(source: Source) -> None:
    source.error = NotFound("no a")
    for _ in range(2):
        with pytest.raises(NotFound, match="no a"):
            await source.get()
    source.error = None
    assert len(source.olds) == 1
    assert await source.get(at_least=1) == 2


async def test_who_is_refused_is_forgotten(source: Source) -> None:
    assert await source.get() == 1
    source.now[0] += 10
    source.error = ProblemError(make_problem("unauthorized"))
    with pytest.raises(ProblemError):
        await source.get()
    source.error = Unavailable("away")
    with pytest.raises(Unavailable):  # and not let in by what was known before
        await source.get()


async def test_those_used_longest_ago_are_forgotten(source: Source) -> None:
    for name in ("a", "b", "c", "a", "d"):
        await source.get(name)
    asked = len(source.olds)
    for name in ("a", "c", "d"):
        await source.get(name)
    assert len(source.olds) == asked == 4
    await source.get("b")
    assert source.olds[-1] is None


async def test_weight_is_what_counts() -> None:
    async with Flights() as flights:
        kept = Kept[str, bytes](flights, Policy(fresh_s=10, most=100, clock=lambda: 0.0), weigh=len)
        asked = []

        async def ask(old: bytes | None) -> bytes:
            asked.append(old)
            return bytes(60)

        for name in ("a", "b", "b", "a"):
            assert len(await kept.get(name, ask)) == 60
        assert len(asked) == 3


async def test_that_there_is_nothing_has_its_weight(source: Source) -> None:
    async with Flights() as flights:
        policy = Policy(fresh_s=10, most=3, nothing=2, clock=lambda: 0.0)
        source.kept, source.error = Kept[str, int](flights, policy), NotFound("none")
        for name in "abab":
            with pytest.raises(NotFound):
                await source.get(name)
    assert len(source.olds) == 4  # there is room for one


async def test_an_error_that_is_kept_holds_on_to_nothing(source: Source) -> None:
    source.error = NotFound("none")
    raised = []
    for _ in range(2):
        with pytest.raises(NotFound, match="none") as caught:
            await source.get()
        raised.append(caught.value)
    (kept,) = (answer.outcome for answer in source.kept._answers.values())
    assert isinstance(kept, NotFound)
    assert kept.__traceback__ is None
    assert all(error is not kept for error in raised)
