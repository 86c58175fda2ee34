"""Who may call what: bearer keys and their scopes, and how many event streams each may hold."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from microdose.problem import ProblemError, make_problem
from microdose_server.api.services import Here
from microdose_server.store.apikeys import ApiKey, Scope

_bearer = HTTPBearer(auto_error=False, bearerFormat="md_<id>_<secret>")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def unauthorized() -> ProblemError:
    """For who comes without a valid key."""
    detail = "send 'Authorization: Bearer md_<id>_<secret>' with a key that is valid here"
    return ProblemError(make_problem("unauthorized", detail))


def allow(*scopes: Scope) -> Dependency:
    """A dependency that lets keys with one of `scopes` pass: 401 without a valid key, 403 with another."""

    def check(here: Here, credentials: Credentials) -> ApiKey:
        key = here.keys.verify(credentials.credentials) if credentials else None
        if key is None:
            raise unauthorized()
        require(key, scopes)
        return key

    return Depends(check)  # type: ignore[no-any-return]


def require(key: ApiKey, scopes: Collection[Scope]) -> None:
    """Raise the problem forbidden unless `key` has one of `scopes`."""
    if not any(key.allows(scope) for scope in scopes):
        wanted = " or ".join(scopes)
        raise ProblemError(make_problem("forbidden", f"key {key.id} lacks the scope {wanted}"))


PUBLISH = allow(Scope.PUBLISH)
WORK = allow(Scope.WORKER)
Publisher = Annotated[ApiKey, PUBLISH]
"""As PUBLISH, where the key itself is of use."""
READERS = (Scope.VIEW, Scope.PUBLISH)
"""Publishers may read as well: they follow their own jobs."""
READ = allow(*READERS)
FETCHERS = (*READERS, Scope.WORKER)
"""Workers as well: who takes a live sequence over begins with what is published of it."""
FETCH = allow(*FETCHERS)


async def _listening(here: Here, key: Annotated[ApiKey, READ]) -> AsyncIterator[None]:
    """Count an event stream from its request until its end."""
    with counted(here.streams, key, here.settings.limits.max_streams):
        yield


@contextmanager
def counted(open_now: Counter[str], key: ApiKey, most: int) -> Iterator[None]:
    """Count an event stream of `key` while the context lasts. Raises too-many-requests beyond `most`."""
    if open_now[key.id] >= most:
        detail = f"key {key.id} has {most} event streams open, the most allowed here: close one first"
        raise ProblemError(make_problem("too-many-requests", detail))
    open_now[key.id] += 1
    try:
        yield
    finally:
        open_now[key.id] -= 1
        if not open_now[key.id]:
            del open_now[key.id]


LISTEN: Dependency = Depends(_listening)
"""As READ, for event streams."""
