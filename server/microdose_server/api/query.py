"""Query parameters that several resources share."""

from typing import Annotated

from fastapi import Query

from microdose.ids import PATTERN

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(pattern=PATTERN)]
Since = Annotated[int | None, Query(ge=0, le=2**53, description="the version one has")]
Wait = Annotated[float, Query(ge=0, le=30, description="seconds to hold the answer back for news")]
