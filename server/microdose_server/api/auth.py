"""Who may call what: bearer keys and their scopes."""

from typing import Annotated

from fastapi import Depends
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from microdose.problem import ProblemError, make_problem
from microdose_server.api.services import Here
from microdose_server.store.apikeys import Scope

_bearer = HTTPBearer(auto_error=False, bearerFormat="md_<id>_<secret>")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def allow(*scopes: Scope) -> Dependency:
    """A dependency that lets keys with one of `scopes` pass: 401 without a valid key, 403 with another."""

    def check(here: Here, credentials: Credentials) -> None:
        key = here.keys.verify(credentials.credentials) if credentials else None
        if key is None:
            detail = "send 'Authorization: Bearer md_<id>_<secret>' with a key that is valid here"
            raise ProblemError(make_problem("unauthorized", detail))
        if not any(key.allows(scope) for scope in scopes):
            wanted = " or ".join(scopes)
            raise ProblemError(make_problem("forbidden", f"key {key.id} lacks the scope {wanted}"))

    return Depends(check)  # type: ignore[no-any-return]


PUBLISH = allow(Scope.PUBLISH)
READ = allow(Scope.VIEW, Scope.PUBLISH)
"""Publishers may read as well: they follow their own jobs."""
