"""Everything in one request, for curl: pictures, one zip of them, or one clip. All is taken, or nothing."""

import io
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import IO, Any, BinaryIO

from anyio import from_thread, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadUpload
from microdose.resources import (
    MAX_REFINE,
    PROFILE_PATTERN,
    DoseAim,
    DoseChoice,
    Frame,
    Job,
    Priority,
    SequenceComplete,
    SequenceCreate,
)
from microdose_server.api.auth import PUBLISH, Publisher
from microdose_server.api.body import length_of
from microdose_server.api.keeping import keep_file, keep_picture, require_room
from microdose_server.api.media import accept
from microdose_server.api.problem import problems
from microdose_server.api.sequences import check_profile
from microdose_server.api.services import Here, Services
from microdose_server.intake.archive import display_name, read_zip
from microdose_server.intake.kind import HEAD, clip_format, is_zip
from microdose_server.store.apikeys import ApiKey

router = APIRouter(tags=["sequences"])
_FORM = {
    "type": "object",
    "required": ["files"],
    "additionalProperties": False,
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "name": {"type": "string", "maxLength": 200},
        "profile": {"type": "string", "pattern": PROFILE_PATTERN},
        "dose": {"type": "string", "enum": [choice.value for choice in DoseChoice]},
        "aim": {"type": "string", "enum": [aim.value for aim in DoseAim]},
        "lmbda": {"type": "number", "exclusiveMinimum": 0},
        "dose_bytes": {"type": "integer", "minimum": 1, "maximum": MAX_BLOB_BYTES},
        "dose_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
        "refine": {"type": "integer", "minimum": 1, "maximum": MAX_REFINE},
        "priority": {"type": "string", "enum": [priority.value for priority in Priority]},
    },
}


@router.post(
    "/sequences:upload",
    status_code=202,
    dependencies=[PUBLISH, accept("multipart/form-data", required=True)],
    responses=problems(
        "too-large",
        "too-slow",
        "unsupported-media-type",
        "bad-picture",
        "bad-upload",
        "invalid-request",
        "no-space",
        "over-quota",
    ),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def upload(here: Here, key: Publisher, request: Request, response: Response) -> Job:
    """Open a sequence, put every picture of the form's `files` in their order, and complete it."""
    limits = here.settings.limits
    coming = length_of(request, limits.max_upload_bytes)
    await to_thread.run_sync(require_room, here, 2 * coming)  # the form, and what is kept of it
    async with request.form(
        max_files=min(limits.max_form_files, limits.max_frames),
        max_fields=limits.max_form_fields,
        max_part_size=limits.max_form_field_bytes,
    ) as form:
        (wish, complete), files = _wishes(form), _files(form)
        check_profile(here, wish.profile)
        job = await to_thread.run_sync(_publish, here, key, wish, complete, files, limiter=here.uploads)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _wishes(form: FormData) -> tuple[SequenceCreate, SequenceComplete]:
    """What the first and the last of the calls that this one stands for would have said."""
    fields: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if "live" in fields:
        raise BadUpload("a live sequence takes its frames one by one: open it with POST /v1/sequences")
    last = {name: fields.pop(name) for name in SequenceComplete.model_fields if name in fields}
    try:
        return SequenceCreate.model_validate(fields), SequenceComplete.model_validate(last)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from None


def _files(form: FormData) -> list[UploadFile]:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name != "files":
            raise BadUpload(f"files belong in the form field 'files', not in {name[:80]!r}")
    files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
    if not files:
        raise BadUpload("no file in the form field 'files'")
    return files


def _publish(
    here: Services, key: ApiKey, wish: SequenceCreate, complete: SequenceComplete, files: list[UploadFile]
) -> Job:
    sequence = here.sequences.create(wish, key.id, here.settings.limits).id
    with _removed_on_failure(here, sequence), closing(_kept(here, sequence, files)) as kept:
        step = partial(to_thread.run_sync, next, kept, None, limiter=here.intake)
        while from_thread.run(step):  # in line anew for each picture: frames put singly get their turn
            pass
        return here.queue.enqueue(sequence, complete.priority)


@contextmanager
def _removed_on_failure(here: Services, sequence: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        here.sequences.delete(sequence)
        raise


def _kept(here: Services, sequence: str, files: list[UploadFile]) -> Generator[Frame]:
    """The frames that the files are, each once it is kept."""
    limits, first = here.settings.limits, files[0].file
    head = _head(first)
    if len(files) == 1 and is_zip(head):
        for n, member in enumerate(read_zip(first, limits)):
            yield keep_file(here, sequence, n, io.BytesIO(member.data), member.name)
    elif len(files) == 1 and clip_format(head):
        with closing(here.sandbox.frames(first)) as pictures:
            for n, picture in enumerate(pictures):
                yield keep_picture(here, sequence, n, picture)
    else:
        for n, file in enumerate(files):
            name = display_name(file.filename or "") or None
            yield keep_file(here, sequence, n, _picture_file(file), name)


def _picture_file(file: UploadFile) -> IO[bytes]:
    head = _head(file.file)
    if is_zip(head) or clip_format(head):
        name = display_name(file.filename or "")
        raise BadUpload(f"{name!r}: send an archive or a clip alone, without other files")
    return file.file


def _head(file: BinaryIO) -> bytes:
    head = file.read(HEAD)
    file.seek(0)
    return head
