"""What workers on other machines need: the publishers' pictures, and a place for what they make of them.

A worker on the API's machine uses the data folder itself.
"""

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Path, Request
from starlette.responses import FileResponse

from microdose.digest import MAX_BLOB_BYTES, PATTERN
from microdose_server.api.auth import WORK
from microdose_server.api.blobs import BINARY, BYTES
from microdose_server.api.body import length_of, received
from microdose_server.api.keeping import require_room
from microdose_server.api.media import accept
from microdose_server.api.problem import problems
from microdose_server.api.services import Here, Services
from microdose_server.store.blobs import BlobStore

router = APIRouter(tags=["workers"])
_READ: Final[dict[str, Any]] = {
    "dependencies": [WORK],
    "response_class": FileResponse,
    "responses": {200: {"content": BINARY}, **problems("not-found", "invalid-request")},
}
_WRITE: Final[dict[str, Any]] = {
    "status_code": 204,
    "dependencies": [WORK, accept(BYTES)],
    "responses": problems(
        "invalid-request", "too-large", "too-slow", "unsupported-media-type", "digest-mismatch", "no-space"
    ),
    "openapi_extra": {"requestBody": {"required": True, "content": BINARY}},
}
Named = Annotated[str, Path(pattern=PATTERN)]


@router.get("/originals/{digest}", **_READ)
def read_original(here: Here, digest: Named) -> FileResponse:
    """The bytes of an original."""
    return _file(here.originals, digest)


@router.put("/originals/{digest}", **_WRITE)
async def put_original(here: Here, digest: Named, request: Request) -> None:
    """Keep what a job will need if it is begun again; never served to viewers."""
    await _keep(here, here.originals, digest, request)


@router.put("/blobs/{digest}", **_WRITE)
async def put_blob(here: Here, digest: Named, request: Request) -> None:
    """Keep a blob that a job is about to publish."""
    await _keep(here, here.blobs, digest, request)


@router.get("/checkpoints/{digest}", **_READ)
def read_checkpoint(here: Here, digest: Named) -> FileResponse:
    """What a job had reached."""
    return _file(here.checkpoints, digest)


@router.put("/checkpoints/{digest}", **_WRITE)
async def put_checkpoint(here: Here, digest: Named, request: Request) -> None:
    """Keep what a job has reached, so that it goes on elsewhere if it is cut off."""
    await _keep(here, here.checkpoints, digest, request)


@router.delete(
    "/checkpoints/{digest}", status_code=204, dependencies=[WORK], responses=problems("invalid-request")
)
def delete_checkpoint(here: Here, digest: Named) -> None:
    """Remove a checkpoint that another has replaced, or none."""
    here.checkpoints.discard(digest)


def _file(store: BlobStore, digest: str) -> FileResponse:
    store.size(digest)
    return FileResponse(store.path(digest), media_type=BYTES)


async def _keep(here: Services, store: BlobStore, digest: str, request: Request) -> None:
    await to_thread.run_sync(require_room, here, length_of(request, MAX_BLOB_BYTES))
    async with received(request, store, digest) as incoming:
        await to_thread.run_sync(incoming.keep)
