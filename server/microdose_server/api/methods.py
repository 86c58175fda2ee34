"""Which methods a path has. Each resource's router knows only its own: none sees all that share a path."""

import re
from collections.abc import Iterator

from fastapi import FastAPI
from starlette.routing import compile_path


def allowed(app: FastAPI, path: str) -> set[str]:
    """The methods that the description has for `path`; none for a path that is not described."""
    found = [methods for pattern, methods in _described(app) if pattern.match(path)]
    return set().union(*found)


def _described(app: FastAPI) -> Iterator[tuple[re.Pattern[str], set[str]]]:
    for path, methods in app.openapi()["paths"].items():
        yield compile_path(path)[0], {name.upper() for name in methods}
