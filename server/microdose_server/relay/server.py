"""The relay as a process."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from microdose.errors import Unavailable
from microdose_server.api.server import run
from microdose_server.relay import keys
from microdose_server.relay.app import create_relay, relay_blobs
from microdose_server.relay.upstream import Upstream
from microdose_server.settings import Settings
from microdose_server.stopping import exit_when_told
from microdose_server.store.apikeys import ApiKey, Scope
from microdose_server.store.lock import lock_folder

log = logging.getLogger(__name__)


def relay(settings: Settings, key: str, ready: Callable[[str], None]) -> None:
    """Relay `settings.upstream`, read with `key`, until SIGTERM or SIGINT. Needs the main thread.

    Raises:
        Unavailable: the upstream cannot be reached or does not take the key; a folder or address that
            cannot be used. BadUpstream: it is no Microdose server.
    """
    exit_when_told()
    if not settings.upstream:
        raise Unavailable("of which server? give --upstream URL, or set MICRODOSE_UPSTREAM")
    own = asyncio.run(_ask(settings.upstream, key))
    if set(own.scopes) != {Scope.VIEW}:
        log.warning("the key %s may do more than view: a relay needs no more", own.id)
    with lock_folder(relay_blobs(settings).root):
        run(create_relay(settings, key), settings, ready)


async def _ask(url: str, key: str) -> ApiKey:
    async with aclosing(Upstream(url, key)) as upstream:
        return await keys.own(upstream)
