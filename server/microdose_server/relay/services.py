"""What a relay's endpoints work with, made once per process; who may call them; how many streams each."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from microdose.resources import BaseInfo
from microdose_server.api.auth import FETCHERS, READERS, Credentials, counted, require, unauthorized
from microdose_server.relay.blobs import Blobs
from microdose_server.relay.feeds import Feeds
from microdose_server.relay.kept import Kept
from microdose_server.relay.keys import Keys
from microdose_server.relay.manifests import Manifests
from microdose_server.relay.upstream import Upstream
from microdose_server.settings import Limits
from microdose_server.store.apikeys import ApiKey, Scope


@dataclass(frozen=True)
class Relay:
    """One process's relay; `streams` counts the open event streams of each viewer's key."""

    limits: Limits
    upstream: Upstream
    keys: Keys
    manifests: Manifests
    feeds: Feeds
    blobs: Blobs
    bases: Kept[str, tuple[BaseInfo, ...]]
    streams: Counter[str] = field(default_factory=Counter)


async def relay_of(request: Request) -> Relay:
    """The relay of the app that handles `request`."""
    relay = request.app.state.relay
    assert isinstance(relay, Relay)
    return relay


Here = Annotated[Relay, Depends(relay_of)]


def allow(*scopes: Scope) -> Dependency:
    """As that of the API, with the upstream's word on the key; 503 where it cannot be asked."""

    async def check(here: Here, credentials: Credentials) -> ApiKey:
        if credentials is None:
            raise unauthorized()
        key = await here.keys.verify(credentials.credentials)
        require(key, scopes)
        return key

    return Depends(check)  # type: ignore[no-any-return]


READ = allow(*READERS)
FETCH = allow(*FETCHERS)


async def _listening(here: Here, key: Annotated[ApiKey, READ]) -> AsyncIterator[None]:
    with counted(here.streams, key, here.limits.max_streams):
        yield


LISTEN: Dependency = Depends(_listening)
"""As READ, for event streams."""
