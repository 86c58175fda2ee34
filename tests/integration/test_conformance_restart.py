"""A server, or a relay, that goes away and comes back: whoever follows goes on where it was."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from microdose import keys
from microdose.errors import NotFound, Unavailable
from microdose_client import AsyncClient, Client, DecodedPicture, Retry, Timeouts
from microdose_client.play import AHEAD
from microdose_server.evaluate.ports import free_port
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from tests.broadcast import Broadcast, on_the_air
from tests.live import live_api, live_relay
from tests.viewers import Viewer

pytestmark = pytest.mark.anyio
QUICK = Retry(first_s=0.02, cap_s=0.1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[Client, AsyncClient])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def make(**options: Any) -> Viewer:
        return Viewer(request.param(**{"retry": QUICK, "cache_dir": tmp_path / "cache", **options}))

    return make


def api(settings: Settings, port: int) -> AbstractAsyncContextManager[str]:
    """The API, while this event loop goes on."""
    return aside(live_api(settings, port=port))


def relay(settings: Settings, key: str, port: int) -> AbstractAsyncContextManager[str]:
    """A relay, while this event loop goes on."""
    return aside(live_relay(settings, key, port))


@asynccontextmanager
async def aside(server: AbstractContextManager[str]) -> AsyncGenerator[str]:
    """A server that is started and ended in threads."""
    with ExitStack() as stack:
        url = await to_thread.run_sync(stack.enter_context, server)
        try:
            yield url
        finally:
            await to_thread.run_sync(stack.close)


async def all_of(pictures: AsyncGenerator[DecodedPicture]) -> list[DecodedPicture]:
    return [picture async for picture in pictures]


@contextmanager
def broadcasting(redis_url: str, settings: Settings) -> Iterator[tuple[Broadcast, str]]:
    """A live sequence in a Redis with nothing else in it, and a viewer's key."""
    with connect(redis_url) as bus:
        bus.flushall()
        _, key = ApiKeys(bus).create([Scope.VIEW])
        yield on_the_air(bus, public_blobs(settings.data_dir)), key


async def test_the_api_restarts(make: Any, redis_url: str, tmp_path: Path) -> None:
    settings, port = Settings(data_dir=tmp_path / "data", redis_url=redis_url), free_port()
    with broadcasting(redis_url, settings) as (live, key):
        async with make(server=f"http://127.0.0.1:{port}", key=key) as viewer:
            pictures = viewer.each("follow", live.sequence, threads=1)
            async with aclosing(pictures):
                async with api(settings, port):
                    assert (await anext(pictures)).n == 0
                live.picture()
                live.picture()
                waiting = asyncio.create_task(anext(pictures))
                async with api(settings, port):
                    assert (await waiting).n == 1
                    assert (await anext(pictures)).n == 2
                    live.picture()
                    assert (await anext(pictures)).n == 3


async def test_the_api_restarts_while_pictures_wait(make: Any, redis_url: str, tmp_path: Path) -> None:
    settings, port = Settings(data_dir=tmp_path / "data", redis_url=redis_url), free_port()
    with broadcasting(redis_url, settings) as (live, key):
        for _ in range(3 * AHEAD):
            live.picture()
        live.epoch()
        live.picture()
        live.say("end")
        once = replace(QUICK, attempts=1)
        async with (
            make(server=f"http://127.0.0.1:{port}", key=key, retry=once) as viewer,
            aclosing(viewer.each("follow", live.sequence, threads=1)) as pictures,
        ):
            async with api(settings, port):
                assert (await anext(pictures)).n == 0
            waiting = asyncio.create_task(all_of(pictures))
            async with api(settings, port):
                assert [picture.n for picture in await waiting] == list(range(1, 3 * AHEAD + 2))


@pytest.mark.parametrize("victim", ["upstream", "relay"])
async def test_one_of_a_relay_and_its_upstream_restarts(
    make: Any, victim: str, redis_url: str, tmp_path: Path
) -> None:
    there, here = free_port(), free_port()
    settings = Settings(data_dir=tmp_path / "data", redis_url=redis_url)
    relayed = Settings(data_dir=tmp_path / "relay", upstream=f"http://127.0.0.1:{there}")
    with broadcasting(redis_url, settings) as (live, key):

        def standing() -> AbstractAsyncContextManager[str]:
            return relay(relayed, key, here) if victim == "upstream" else api(settings, there)

        def falling() -> AbstractAsyncContextManager[str]:
            return api(settings, there) if victim == "upstream" else relay(relayed, key, here)

        async with (
            standing(),
            make(server=f"http://127.0.0.1:{here}", key=key) as viewer,
            aclosing(viewer.each("follow", live.sequence, threads=1)) as pictures,
        ):
            async with falling():
                assert (await anext(pictures)).n == 0
            live.picture()
            live.picture()
            waiting = asyncio.create_task(anext(pictures))
            async with falling():
                assert (await waiting).n == 1
                assert (await anext(pictures)).n == 2
                live.picture()
                assert (await anext(pictures)).n == 3


async def test_redis_restarts(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    with EmbeddedValkey(folder) as valkey, connect(valkey.url) as bus:
        live = on_the_air(bus, public_blobs(tmp_path / "data"))
        url = valkey.url
        viewer = make(redis=url)
        pictures = viewer.each("follow", live.sequence, threads=1)
        assert (await anext(pictures)).n == 0
    waiting = asyncio.create_task(anext(pictures))
    with EmbeddedValkey(folder) as valkey, connect(valkey.url) as bus:
        assert valkey.url == url
        live.connect(bus)
        live.picture()
        async with viewer, aclosing(pictures):
            assert (await waiting).n == 1


async def test_redis_forgets_the_sequence(make: Any, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", redis_url=redis_url)
    with connect(redis_url) as bus, broadcasting(redis_url, settings) as (live, key):
        async with api(settings, 0) as url, make(server=url, key=key) as viewer:
            pictures = viewer.each("follow", live.sequence, threads=1)
            async with aclosing(pictures):
                assert (await anext(pictures)).n == 0
                live.picture()
                assert (await anext(pictures)).n == 1
                names = (keys.events, keys.manifest, keys.sequence)
                bus.delete(*(name(live.sequence) for name in names))
                with pytest.raises(NotFound):
                    await anext(pictures)


@pytest.mark.parametrize("scheme", ["http", "redis"])
async def test_a_server_that_never_comes_back(make: Any, scheme: str, redis_url: str, tmp_path: Path) -> None:
    patience = {"retry": Retry(first_s=0.01, cap_s=0.02, outage_s=0.5), "timeouts": Timeouts(read=5.0)}
    with EmbeddedValkey(tmp_path / "valkey") as valkey, connect(valkey.url) as bus:
        settings = Settings(data_dir=tmp_path / "data", redis_url=valkey.url)
        live = on_the_air(bus, public_blobs(settings.data_dir))
        _, key = ApiKeys(bus).create([Scope.VIEW])
        async with api(settings, 0) as url:
            place = {"server": url, "key": key} if scheme == "http" else {"redis": valkey.url}
            viewer = make(**place, **patience)
            pictures = viewer.each("follow", live.sequence, threads=1)
            assert (await anext(pictures)).n == 0
    async with viewer, aclosing(pictures):
        with pytest.raises(Unavailable, match="nothing new for"):
            await anext(pictures)
