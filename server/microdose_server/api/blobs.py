"""Published blobs: immutable, so cacheable for ever, by anyone."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import FileResponse

from microdose.digest import repr_digest
from microdose_server.api import ranges
from microdose_server.api.auth import FETCH
from microdose_server.api.conditions import matches
from microdose_server.api.problem import problems
from microdose_server.api.services import Here
from microdose_server.store.blobs import BlobStore

router = APIRouter(prefix="/blobs", tags=["blobs"])
BYTES: Final = "application/octet-stream"
BINARY: Final[dict[str, Any]] = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
"""A body of them, for the OpenAPI description."""
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": BINARY},
    206: {"description": "The ranges asked for", "content": BINARY | {"multipart/byteranges": {}}},
    304: {"description": "It never changes"},
    **problems("not-found", "range-not-satisfiable"),
}
SMALL: Final = FileResponse.chunk_size
"""Bytes; no more of any blob are in memory for one reader."""
FOREVER = "public, max-age=31536000, immutable"


@router.head("/{digest}", dependencies=[FETCH], include_in_schema=False)
@router.get("/{digest}", dependencies=[FETCH], response_class=FileResponse, responses=DOCUMENTED)
def read(
    here: Here, request: Request, digest: str, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """The bytes that `digest` names, or ranges of them. Who fetches verifies."""
    return answer(request, here.blobs, digest, if_none_match)


def answer(request: Request, store: BlobStore, digest: str, if_none_match: str | None) -> Response:
    """A blob of `store`, whole or in the ranges asked for. Raises NotFound, and 416 as `ranges.settle`.

    Reads the disk. A small one is read at once: to be sent as a file costs four more changes of thread.
    """
    path, size = store.path(digest), store.size(digest)
    headers = {"ETag": f'"{digest}"', "Cache-Control": FOREVER, "Repr-Digest": repr_digest(digest)}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    ranges.settle(request.scope, headers["ETag"], size)
    if size <= SMALL and "range" not in request.headers:
        return Response(path.read_bytes(), headers=headers | {"Accept-Ranges": "bytes"}, media_type=BYTES)
    return FileResponse(path, headers=headers, media_type=BYTES)
