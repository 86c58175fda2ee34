"""Path parameters. What cannot be an id names nothing: it is not found before any key is built from it."""

from typing import Annotated

from fastapi import Depends, Path

from microdose.errors import NotFound
from microdose.ids import is_id


async def _sequence(sequence: Annotated[str, Path(description="id of a sequence")]) -> str:
    return _checked("sequence", sequence)


async def _job(job: Annotated[str, Path(description="id of a job")]) -> str:
    return _checked("job", job)


def _checked(kind: str, name: str) -> str:
    if not is_id(name):
        raise NotFound(f"no {kind} {name[:80]!r}: an id has 26 lower-case letters and digits")
    return name


SequenceId = Annotated[str, Depends(_sequence)]
JobId = Annotated[str, Depends(_job)]
