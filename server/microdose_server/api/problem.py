"""Every error leaves as `application/problem+json` (RFC 9457): ours, the framework's, Redis's, the disk's.

Errors that nobody foresaw are answered further out, by `envelope`.
"""

import logging
from collections.abc import Mapping
from typing import Any

import redis
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from microdose.errors import MicrodoseError, NotFound
from microdose.problem import PROBLEMS, FieldError, Problem, make_problem, problem_of
from microdose_server.api.methods import allowed
from microdose_server.room import FULL

PROBLEM_TYPE = "application/problem+json"
_RETRY_AFTER_S = {429: "1", 503: "2"}
_SLUGS = {
    401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 408: "too-slow",
    409: "conflict", 410: "gone", 413: "too-large", 415: "unsupported-media-type",
    416: "range-not-satisfiable", 429: "too-many-requests", 503: "unavailable",
}  # fmt: skip

log = logging.getLogger(__name__)


def problems(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description of a route: the problems that it may answer with, of one status or more."""
    titles: dict[int | str, list[str]] = {}
    for slug in slugs:
        status, title = PROBLEMS[slug]
        titles.setdefault(status, []).append(f"{title} (`{slug}`)")
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "; ".join(found), "content": content} for status, found in titles.items()}


router = APIRouter(tags=["problems"])


@router.get("/problems/{slug}", responses=problems("not-found"))
def describe(slug: str) -> Problem:
    """What a problem's `type` means."""
    if slug not in PROBLEMS:
        raise NotFound(f"no problem is called {slug[:80]!r}")
    return make_problem(slug)


def respond(problem: Problem, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """`problem` as the answer to the request of `scope`."""
    request_id = scope.get("state", {}).get("request_id")
    placed = problem.model_copy(update={"instance": scope["path"], "request_id": request_id})
    more = dict(headers or {})
    if problem.status in _RETRY_AFTER_S:
        more.setdefault("Retry-After", _RETRY_AFTER_S[problem.status])
    if problem.status == 401:
        more.setdefault("WWW-Authenticate", "Bearer")
    body = placed.model_dump_json(exclude_defaults=True)
    return Response(body, problem.status, {"Cache-Control": "no-store"} | more, PROBLEM_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Have `app` answer every exception that it can name with a problem."""
    app.add_exception_handler(MicrodoseError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(OSError, _disk)
    app.add_exception_handler(ClientDisconnect, _left)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, MicrodoseError)
    return respond(problem_of(error), request.scope)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = _SLUGS.get(error.status_code) or ("internal" if error.status_code >= 500 else "invalid-request")
    detail = {
        404: f"no route {request.scope['path']!r}",
        405: f"{request.method} is not allowed here",
    }.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := allowed(request.app, request.scope["path"])):
        headers["Allow"] = ", ".join(sorted(methods))
    return respond(make_problem(slug, detail), request.scope, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = tuple(FieldError(pointer=_pointer(e["loc"]), detail=str(e["msg"])) for e in error.errors()[:20])
    detail = "; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3])
    return respond(make_problem("invalid-request", detail, errors=errors), request.scope)


def _pointer(where: tuple[str | int, ...]) -> str:
    """A JSON pointer (RFC 6901) into the body, or the name of a parameter."""
    if where[:1] != ("body",):
        return ".".join(map(str, where[1:]))
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in where[1:])


async def _redis(request: Request, error: Exception) -> Response:
    log.error("Redis failed: %s", error)
    detail = "Redis cannot be reached, or refuses to write; try again"
    return respond(make_problem("unavailable", detail), request.scope)


async def _left(request: Request, error: Exception) -> Response:
    """For the log and the counts: nobody is there to read it."""
    problem = make_problem("invalid-request", "the connection ended before the body did")
    return respond(problem.model_copy(update={"status": 400}), request.scope)


async def _disk(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if error.errno not in FULL:
        raise error
    log.error("no space left: %s", error)
    return respond(make_problem("no-space", "nothing was stored; try again later"), request.scope)
