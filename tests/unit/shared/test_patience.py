"""Back-off: bounded, growing, spread, and obedient to Retry-After."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.patience import Retry, retry_after


def pause(retry: Retry, attempt: int, asked: float | None = None) -> float:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    asyncio.run(replace(retry, sleep=sleep).pause(attempt, asked))
    return slept[0]


def pauses(draw: float, asked: float | None = None, tries: int = 12) -> list[float]:
    retry = Retry(first_s=0.5, cap_s=20.0, draw=lambda: draw)
    return [pause(retry, attempt, asked) for attempt in range(1, tries + 1)]


def test_doubles_up_to_the_cap() -> None:
    assert pauses(1.0, tries=7) == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_jitter_reaches_down_to_nothing() -> None:
    assert pauses(0.0) == [0.0] * 12


def test_waits_as_long_as_asked_but_not_beyond_the_cap() -> None:
    assert pauses(0.0, asked=3.0, tries=1) == [3.0]
    assert pauses(0.0, asked=86400.0, tries=1) == [20.0]


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_never_beyond_the_cap(draw: float, attempt: int) -> None:
    assert 0 <= pause(Retry(draw=lambda: draw), attempt) <= Retry().cap_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("120", 120.0), (None, None), ("soon", None), ("²", None), ("-1", None), ("9" * 7, None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds
