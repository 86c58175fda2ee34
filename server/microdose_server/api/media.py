"""Media types of request bodies."""

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from microdose.problem import ProblemError, make_problem


def accept(*accepted: str, required: bool = False) -> Dependency:
    """A dependency that answers 415 to a body declared as none of `accepted`; `image/*` has all subtypes.

    A body without a declaration passes unless one is `required`.
    """

    async def check(request: Request) -> None:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given in accepted or given.partition("/")[0] + "/*" in accepted or not (given or required):
            return
        detail = (
            f"{given or 'a body without a media type'} is not accepted here: send {' or '.join(accepted)}"
        )
        raise ProblemError(make_problem("unsupported-media-type", detail))

    return Depends(check)  # type: ignore[no-any-return]
