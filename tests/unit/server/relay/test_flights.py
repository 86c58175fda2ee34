"""Work under one name is done once, however many want it."""

import asyncio

import pytest

from microdose.errors import Unavailable
from microdose_server.relay.flights import Flights

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it is begun; goes on when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.ended = 0, asyncio.Event(), False

    async def __call__(self) -> int:
        self.begun += 1
        await self.go_on.wait()
        self.ended = True
        return self.begun


async def test_all_who_want_it_get_what_one_fetched() -> None:
    async with Flights() as flights:
        work = Work()
        waiting = [asyncio.create_task(flights.join("a", work)) for _ in range(20)]
        await asyncio.sleep(0)
        assert "a" in flights
        work.go_on.set()
        assert await asyncio.gather(*waiting) == 20 * [1]
        assert "a" not in flights
        assert await flights.join("a", work) == 2


async def test_other_names_do_not_wait() -> None:
    async with Flights() as flights:
        slow, quick = Work(), Work()
        quick.go_on.set()
        waiting = asyncio.create_task(flights.join("slow", slow))
        assert await flights.join("quick", quick) == 1
        slow.go_on.set()
        assert await waiting == 1


async def test_a_failure_is_everybodys_and_the_next_tries_again() -> None:
    async def fail() -> int:
        await asyncio.sleep(0)
        raise Unavailable("away")

    async with Flights() as flights:
        outcomes = await asyncio.gather(*(flights.join("a", fail) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 3 * [Unavailable]
        with pytest.raises(Unavailable):
            await flights.join("a", fail)


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    async with Flights() as flights:
        work = Work()
        leaving, staying = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        work.go_on.set()
        assert await staying == 1


async def test_the_end_cancels_what_is_under_way() -> None:
    work = Work()
    async with Flights() as flights:
        waiting = asyncio.create_task(flights.join("a", work))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not work.ended
