"""What a relay's endpoints work with, made once per process; who may call them; how many streams each."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from microdose.resources import BaseInfo
from microdose_server.api.auth import Credentials, counted, unauthorized
from microdose_server.relay.blobs import Blobs
from microdose_server.relay.feeds import Feeds
from microdose_server.relay.kept import Kept
from microdose_server.relay.keys import Keys
from microdose_server.relay.manifests import Manifests
from microdose_server.relay.upstream import Upstream
from microdose_server.settings import Limits
from microdose_server.store.apikeys import ApiKey


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


def relay_of(request: Request) -> Relay:
    """The relay of the app that handles `request`."""
    relay = request.app.state.relay
    assert isinstance(relay, Relay)
    return relay


Here = Annotated[Relay, Depends(relay_of)]


async def _viewer(here: Here, credentials: Credentials) -> ApiKey:
    if credentials is None:
        raise unauthorized()
    return await here.keys.verify(credentials.credentials)


READ: Dependency = Depends(_viewer)
"""Lets keys pass that may read at the upstream: 401 or 403 for others, 503 where it cannot be asked."""
Viewer = Annotated[ApiKey, READ]
"""As READ, where the key itself is of use."""


async def _listening(here: Here, key: Viewer) -> AsyncIterator[None]:
    with counted(here.streams, key, here.limits.max_streams):
        yield


LISTEN: Dependency = Depends(_listening)
"""As READ, for event streams."""
