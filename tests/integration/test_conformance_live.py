"""Following a live sequence: one suite over all ways and both clients, on the real API, relay and Valkey."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microdose import keys
from microdose.errors import CorruptStream, DoseMismatch, NotFound, Removed
from microdose.ids import new_id
from microdose_client import AsyncClient, Client, DecodedPicture, Retry
from microdose_client.cache import BlobCache
from microdose_server.settings import Settings
from microdose_server.store.apikeys import Scope
from microdose_server.store.blobs import public_blobs
from tests.broadcast import Broadcast
from tests.live import live_relay
from tests.served import Served
from tests.shelves import RedisShelf
from tests.viewers import Viewer

pytestmark = pytest.mark.anyio
QUICK = Retry(first_s=0.01, cap_s=0.05)
PATIENCE_S = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["http", "redis", "relay"])
def options(
    request: pytest.FixtureRequest, served: Served, redis_url: str, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """How to reach the sequence: with a viewer's key over HTTP, there or at a relay; as a viewer in Redis."""
    common = {"cache_dir": tmp_path / "cache", "retry": QUICK}
    if request.param == "redis":
        with RedisShelf(redis_url) as shelf:
            yield common | {"redis": shelf.url()}
        return
    with ExitStack() as stack:
        url, key = served.url, served.token(Scope.VIEW)
        if request.param == "relay":
            settings = Settings(data_dir=tmp_path / "relay", upstream=url)
            url = stack.enter_context(live_relay(settings, served.token(Scope.VIEW)))
        yield common | {"server": url, "key": key}


@pytest.fixture(params=[Client, AsyncClient])
def viewer(request: pytest.FixtureRequest, options: dict[str, Any]) -> Viewer:
    return Viewer(request.param(**options))


@pytest.fixture
def live(served: Served, options: dict[str, Any]) -> Broadcast:
    return Broadcast(served.bus, public_blobs(served.settings.data_dir))


def follow(viewer: Viewer, live: Broadcast, start: int = 0) -> AsyncGenerator[DecodedPicture]:
    return viewer.each("follow", live.sequence, start=start, threads=1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_every_picture_once_and_in_order_whenever_one_joins(viewer: Viewer, live: Broadcast) -> None:
    live.epoch(dosed=False)
    live.picture()
    live.picture()
    seen = []
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        async for picture in pictures:
            seen.append(picture.n)
            np.testing.assert_array_equal(picture.pixels, live.expected(picture.n))
            if picture.n < 5:
                live.picture()
            elif picture.n == 5:
                live.say("end", reason="done")
    assert seen == [0, 1, 2, 3, 4, 5, 6]


async def test_joining_at_the_newest(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    for _ in range(4):
        live.picture()
    async with viewer, aclosing(follow(viewer, live, start=-2)) as pictures:
        assert [(await anext(pictures)).n for _ in range(2)] == [2, 3]
        live.picture()
        assert (await anext(pictures)).n == 4


async def test_a_new_epoch_is_prepared_ahead_and_begins_with_its_first_picture(
    viewer: Viewer, live: Broadcast, tmp_path: Path
) -> None:
    live.epoch(dosed=False)
    live.picture()
    cache = BlobCache(tmp_path / "cache")
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).epoch == 0
        for parent in (None, 1):
            dose = live.epoch(parent).dose
            assert dose is not None
            await until(lambda digest=dose.digest: cache.path(digest).exists())  # type: ignore[misc]
            live.picture()
            picture = await anext(pictures)
            assert picture.epoch == max(live.doses)
            np.testing.assert_array_equal(picture.pixels, live.expected(picture.n))


async def test_a_discontinuity_is_told_with_the_next_picture(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        first = await anext(pictures)
        live.say("discontinuity", reason="frames 1 to 3 are missing")
        live.picture()
        second = await anext(pictures)
        live.picture()
        third = await anext(pictures)
    told = [picture.discontinuity for picture in (first, second, third)]
    assert told == [None, "frames 1 to 3 are missing", None]
    assert [picture.published for picture in (first, second, third)] == [None, 1.001, 1.002]


async def test_a_gap_in_the_log_is_filled_from_the_manifest(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        for n in range(1, 5):
            live.picture(log=n == 4)
        assert [(await anext(pictures)).n for _ in range(4)] == [1, 2, 3, 4]
        live.picture()
        assert (await anext(pictures)).n == 5


async def test_a_window_is_joined_at_its_first_picture(
    viewer: Viewer, options: dict[str, Any], served: Served
) -> None:
    live = Broadcast(served.bus, public_blobs(served.settings.data_dir), window=3)
    live.epoch()
    for _ in range(8):
        live.picture()
    live.say("end")
    async with viewer:
        assert [picture.n async for picture in follow(viewer, live)] == [5, 6, 7]


async def test_a_removed_sequence(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    live.picture()
    async with viewer:
        pictures = follow(viewer, live)
        assert (await anext(pictures)).n == 0
        live.remove()
        with pytest.raises(Removed, match="removed"):
            await anext(pictures)
        with pytest.raises(NotFound):
            await viewer.ask("manifest", live.sequence)


async def test_a_sequence_that_never_was(viewer: Viewer) -> None:
    async with viewer:
        with pytest.raises(NotFound):
            await anext(viewer.each("follow", new_id()))


async def test_a_picture_that_left_the_window_before_it_was_fetched_is_left_out(
    viewer: Viewer, options: dict[str, Any], served: Served
) -> None:
    live = Broadcast(served.bus, public_blobs(served.settings.data_dir), window=2)
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        lost = live.picture(lost=True)
        for _ in range(3):
            live.picture()
        live.say("end")
        assert lost.n not in [picture.n async for picture in pictures]


async def test_a_picture_that_is_listed_must_be_there(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    live.picture()
    lost = live.picture(lost=True)
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        with pytest.raises(NotFound, match=lost.blob.digest):
            await anext(pictures)


async def test_a_dose_of_another_epoch(viewer: Viewer, live: Broadcast) -> None:
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        live.epoch(made_for=7)
        live.picture()
        with pytest.raises(DoseMismatch, match="epoch 1 the dose of epoch 7"):
            await anext(pictures)


async def test_a_picture_of_another_epoch(viewer: Viewer, live: Broadcast) -> None:
    live.epoch(dosed=False)
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        live.picture(coded_for=3)
        with pytest.raises(CorruptStream, match="coded for epoch 3"):
            await anext(pictures)


async def test_what_is_no_event(viewer: Viewer, live: Broadcast, served: Served) -> None:
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        assert (await anext(pictures)).n == 0
        served.bus.xadd(keys.events(live.sequence), {"event": b'{"type":"segment","seq":[]}'}, id="3-0")
        with pytest.raises(CorruptStream):
            await anext(pictures)


async def test_pull_follows_to_the_end(viewer: Viewer, live: Broadcast, tmp_path: Path) -> None:
    live.epoch()
    live.picture()
    steps: list[int] = []

    def go_on(step: Any) -> None:
        steps.append(step.done)
        if step.done < 3:
            live.picture()
        else:
            live.say("end")

    out = tmp_path / "out"
    async with viewer:
        pulled = await viewer.ask("pull", live.sequence, out, follow=True, progress=go_on, threads=1)
    assert steps == [1, 2, 3]
    assert [file.name for file in pulled.files] == ["000000.png", "000001.png", "000002.png"]
    assert (pulled.info.pictures, pulled.info.ended) == (3, True)
    assert all(file.exists() for file in pulled.files)


async def test_a_lost_line_loses_nothing(viewer: Viewer, live: Broadcast, served: Served) -> None:
    live.epoch()
    live.picture()
    async with viewer, aclosing(follow(viewer, live)) as pictures:
        for n in range(5):
            assert (await anext(pictures)).n == n
            served.bus.client_kill_filter(_type="normal", skipme=True)  # of a viewer, and of the API itself
            live.picture()
