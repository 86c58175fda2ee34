"""The two clients are one: the same methods, the same seams; and an AsyncClient leaves nothing open."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
import redis
import redis.asyncio

from microdose.errors import Unavailable
from microdose.manifest import Manifest
from microdose_client import AsyncClient, Client
from microdose_client.live import AsyncLive, Live
from tests.shelves import HttpShelf, RedisShelf, publish
from tests.tiny_base import TinySequence, tiny_sequence
from tests.valkey import redis_url

__all__ = ["redis_url"]


def methods(client: type) -> dict[str, Callable[..., Any]]:
    public = {name: method for name, method in vars(client).items() if not name.startswith("_")}
    return {{"aclose": "close"}.get(name, name): method for name, method in public.items()}


def test_both_clients_have_the_same_methods() -> None:
    assert methods(Client).keys() == methods(AsyncClient).keys()


@pytest.mark.parametrize("name", [*methods(Client), "__init__"])
def test_a_method_is_the_same_in_both(name: str) -> None:
    ours, theirs = (methods(each).get(name) or vars(each)[name] for each in (Client, AsyncClient))
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert ours.__doc__ == theirs.__doc__ != None  # noqa: E711
    returned, awaited = (get_type_hints(each)["return"] for each in (ours, theirs))
    if inspect.iscoroutinefunction(theirs) or name == "__init__":
        assert returned == awaited
    elif name == "live":
        assert (returned, awaited) == (AbstractContextManager[Live], AbstractAsyncContextManager[AsyncLive])
    else:
        assert returned.__origin__ is Iterator
        assert awaited.__origin__ is AsyncGenerator
        assert returned.__args__[0] == awaited.__args__[0]


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(6)


async def ask(client: AsyncClient, sequence: TinySequence) -> Manifest:
    async with client:
        return await client.manifest(sequence.manifest.sequence)


def test_an_asgi_application_may_be_the_transport(sequence: TinySequence, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": sequence.manifest.to_bytes()})

    transport = httpx.ASGITransport(app)
    client = AsyncClient("http://inside", transport=transport, cache_dir=tmp_path)
    assert asyncio.run(ask(client, sequence)) == sequence.manifest
    with Client("http://inside", transport=httpx.ASGITransport(app), cache_dir=tmp_path) as blocking:
        assert blocking.manifest(sequence.manifest.sequence) == sequence.manifest


def test_a_redis_of_either_kind_may_be_given_and_stays_open(
    sequence: TinySequence, redis_url: str, tmp_path: Path
) -> None:
    async def with_asyncio(url: str) -> Manifest:
        async with redis.asyncio.Redis.from_url(url) as mine:
            found = await ask(AsyncClient(redis=mine, cache_dir=tmp_path), sequence)
            assert await mine.ping()
            return found

    with RedisShelf(redis_url) as shelf:
        publish(shelf, sequence)
        assert asyncio.run(with_asyncio(shelf.url())) == sequence.manifest
        with redis.Redis.from_url(shelf.url()) as mine:
            assert (
                asyncio.run(ask(AsyncClient(redis=mine, cache_dir=tmp_path), sequence)) == sequence.manifest
            )
            assert mine.ping()


@pytest.mark.parametrize("closing", [True, False])
def test_a_client_that_is_closed_leaves_no_task_and_frees_who_waits(
    closing: bool, sequence: TinySequence, tmp_path: Path
) -> None:
    async def main(shelf: HttpShelf) -> None:
        client = AsyncClient(**shelf.options(), cache_dir=tmp_path)
        pictures = client.pictures(sequence.manifest.sequence, threads=1)
        assert (await anext(pictures)).n == 0
        if closing:
            await client.aclose()
            with pytest.raises(Unavailable, match="closed"):
                async for _ in pictures:
                    pass
        else:
            await pictures.aclose()
            await client.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with HttpShelf() as shelf:
        publish(shelf, sequence)
        asyncio.run(main(shelf))


def test_the_event_loop_is_never_held_up(sequence: TinySequence, tmp_path: Path) -> None:
    """Many sequences at once on one loop, each decoded in threads."""

    async def count(client: AsyncClient) -> int:
        return len([picture.n async for picture in client.pictures(sequence.manifest.sequence, threads=1)])

    async def main(shelf: HttpShelf) -> list[int]:
        async with AsyncClient(**shelf.options(), cache_dir=tmp_path) as client:
            work: list[Awaitable[int]] = [count(client) for _ in range(8)]
            return await asyncio.gather(*work)

    with HttpShelf() as shelf:
        publish(shelf, sequence)
        assert asyncio.run(main(shelf)) == [6] * 8
