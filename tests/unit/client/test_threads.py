"""Coroutines for blocking code: results, errors, cancelling, closing."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from microdose.errors import BadUpload, Unavailable
from microdose_client.threads import Loop, Run, with_run


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


async def fail() -> None:
    raise BadUpload("no")


def test_results_and_errors_come_through(loop: Loop) -> None:
    assert loop.run(double, 4) == 8
    with pytest.raises(BadUpload, match="no"):
        loop.run(fail)


def test_many_threads_share_one_loop(loop: Loop) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda x: loop.run(double, x), range(100))) == list(range(0, 200, 2))


def test_an_iterator_that_is_left_early_is_closed(loop: Loop) -> None:
    closed = []

    async def count() -> AsyncGenerator[int]:
        try:
            for n in range(10):
                yield n
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    numbers = loop.iterate(count())
    assert [next(numbers), next(numbers)] == [0, 1]
    del numbers
    assert closed == [True]


def test_closing_frees_whoever_waits() -> None:
    loop, waiting = Loop(), threading.Event()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(loop.run, wait_for_ever)
        waiting.wait()
        loop.close()
        with pytest.raises(Unavailable, match="closed"):
            stuck.result()
    with pytest.raises(Unavailable, match="closed"):
        loop.run(double, 1)


def test_threads_use_the_loop_they_came_from() -> None:
    def work(run: Run) -> list[int]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda x: run(double, x), range(10)))

    assert asyncio.run(with_run(work)) == list(range(0, 20, 2))


def test_an_error_in_a_thread_is_itself() -> None:
    with pytest.raises(BadUpload, match="no"):
        asyncio.run(with_run(lambda run: run(fail)))


def test_a_cancelled_task_ends_its_thread() -> None:
    ended = threading.Event()

    async def main() -> None:
        started = asyncio.Event()

        async def wait_for_ever() -> None:
            started.set()
            await asyncio.Event().wait()

        def work(run: Run) -> None:
            try:
                run(wait_for_ever)
            except Unavailable:
                ended.set()

        task = asyncio.create_task(with_run(work))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended.wait(60)
