"""Whom a relay lets in: whoever the upstream would. It is asked about each key, once a minute.

A viewer's key goes nowhere but to the upstream that gave it out, and nothing is fetched with it. Kept is its
hash alone.
"""

import asyncio
import hashlib
from functools import partial
from typing import Final

from pydantic import ValidationError

from microdose.errors import BadUpstream
from microdose_server.api.auth import unauthorized
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Kept, Policy
from microdose_server.relay.upstream import Upstream
from microdose_server.store.apikeys import ApiKey, is_token

POLICY: Final = Policy(fresh_s=60.0, grace_s=60.0, most=10_000)
MAX_KEY_BYTES: Final = 1 << 16
CHECKS: Final = 8
"""At a time: strangers may make up any number of keys."""
PATH: Final = "/v1/key"
OWN: Final = ""


class Keys:
    """The keys of an upstream."""

    def __init__(self, upstream: Upstream, flights: Flights, policy: Policy = POLICY) -> None:
        self._upstream = upstream
        self._kept = Kept[str, ApiKey](flights, policy)
        self._turn = asyncio.Semaphore(CHECKS)

    async def verify(self, token: str) -> ApiKey:
        """The key of this token, which may read. Raises ProblemError (401, 403), or as `Upstream`."""
        if not is_token(token):
            raise unauthorized()
        name = hashlib.sha256(token.encode()).hexdigest()
        return await self._kept.get(name, partial(self._ask, token))

    async def own(self) -> ApiKey:
        """The relay's own key. Raises as `Upstream`."""
        return await self._kept.get(OWN, lambda old: own(self._upstream))

    async def _ask(self, token: str, old: ApiKey | None) -> ApiKey:
        async with self._turn:
            return _parse(await self._upstream.document(PATH, MAX_KEY_BYTES, key=token))


async def own(upstream: Upstream) -> ApiKey:
    """The relay's own key, as the upstream sees it now. Raises as `Upstream`."""
    return _parse(await upstream.document(PATH, MAX_KEY_BYTES))


def _parse(data: bytes | None) -> ApiKey:
    try:
        return ApiKey.model_validate_json(data or b"")
    except ValidationError:
        raise BadUpstream("the upstream does not say whose key it is; is it a Microdose server?") from None
