import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
import redis
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from microdose.errors import BadPicture, NotFound, Removed
from microdose.problem import Problem, make_problem
from microdose_server.api.problem import add_handlers, respond

Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]
SCOPE = {"type": "http", "method": "GET", "path": "/v1/x", "headers": [], "state": {"request_id": "abc"}}


def answer(error: Exception) -> tuple[Response, Problem]:
    """What the handler of an exception answers."""
    app = FastAPI()
    add_handlers(app)
    kind = next(kind for kind in type(error).__mro__ if kind in app.exception_handlers)
    handler = cast(
        Callable[[Request, Exception], Coroutine[Any, Any, Response]], app.exception_handlers[kind]
    )
    response = asyncio.run(handler(Request(SCOPE), error))
    return response, Problem.model_validate_json(bytes(response.body))


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (BadPicture("torn"), "bad-picture"),
        (NotFound("gone"), "not-found"),
        (Removed("gone"), "gone"),
        (HTTPException(404), "not-found"),
        (HTTPException(418, "tea"), "invalid-request"),
        (HTTPException(502), "internal"),
        (redis.ConnectionError("secret-host:1"), "unavailable"),
        (redis.ResponseError("OOM command not allowed"), "unavailable"),
        (OSError(errno.ENOSPC, "full"), "no-space"),
    ],
)
def test_every_error_has_its_problem(error: Exception, slug: str) -> None:
    response, problem = answer(error)
    assert (problem.slug, problem.status) == (slug, response.status_code)
    assert (problem.instance, problem.request_id) == ("/v1/x", "abc")
    assert response.media_type == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert b"secret" not in response.body


def test_another_error_of_the_disk_goes_on() -> None:
    with pytest.raises(PermissionError):
        answer(PermissionError(errno.EACCES, "no"))


def test_wrong_fields_are_pointed_at() -> None:
    errors = [
        {"loc": ("body", "a", 0, "b/c~"), "msg": "one"},
        {"loc": ("query", "limit"), "msg": "two"},
        {"loc": ("body",), "msg": "three"},
    ]
    _, problem = answer(RequestValidationError(errors))
    assert [(e.pointer, e.detail) for e in problem.errors] == [
        ("/a/0/b~1c~0", "one"),
        ("limit", "two"),
        ("", "three"),
    ]


def test_who_may_come_back_is_told_when() -> None:
    assert respond(make_problem("unavailable"), SCOPE).headers["retry-after"] == "2"
    assert respond(make_problem("unauthorized"), SCOPE).headers["www-authenticate"] == "Bearer"
    assert "retry-after" not in respond(make_problem("not-found"), SCOPE).headers
