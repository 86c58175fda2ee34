"""Sending pictures: which files, in which order, and all of them to the server however shaky the line.

    paths ─► collect ─► pictures ─► create ─► PUT frame 0 … n-1, LANES at a time, each retried alone ─► job
                └─────► one clip or zip ─► one multipart request

Files are read and hashed here in threads; `run` hands the requests to the event loop of the client.
A PUT is idempotent, so an interrupted push goes on where it stopped: ask what is there, put the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from microdose.digest import digest_of
from microdose.errors import BadUpload, MicrodoseError
from microdose.natural import natural_key
from microdose.problem import ProblemError
from microdose.resources import Job, SequenceComplete, SequenceCreate
from microdose_client.api import Api
from microdose_client.progress import Report, Step, silent
from microdose_client.threads import Run

LANES = 5
MAX_NAME = 200
WANTED = "give picture files, folders of pictures, one clip or one zip"
PICTURE_REFUSED = (413, 415, 422)  # what is wrong with one picture; anything else is wrong with all of them
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff"})
ARCHIVES = frozenset({".zip", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".y4m"})


def collect(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The files to send: those given, in the order given, and of every folder its pictures in natural order.

    The answer is either any number of pictures, or exactly one clip or zip archive (see `is_archive`).
    Raises BadUpload: nothing there, a folder without pictures, an archive next to something else.
    """
    files: list[Path] = []
    for path in paths:
        files += _files_at(path)
    if not files:
        raise BadUpload(f"there is nothing to push; {WANTED}")
    if len(files) > 1:
        for file in filter(is_archive, files):
            raise BadUpload(f"{file} must be pushed alone: a clip or an archive is a sequence of its own")
    return tuple(files)


def is_archive(path: Path) -> bool:
    """Whether the file holds many pictures (a clip or a zip), going by its extension."""
    return path.suffix.lower() in ARCHIVES


def is_picture(path: Path) -> bool:
    """Whether a file in a folder is a picture to send, going by its name."""
    return path.suffix.lower() in PICTURES and path.name[0] != "."


def _files_at(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return _pictures_of(path)
        if path.is_file():
            return [path]
    except OSError as error:
        raise BadUpload(f"cannot read {path}: {error.strerror or error}") from error
    raise BadUpload(f"{path} does not exist; {WANTED}")


def _pictures_of(folder: Path) -> list[Path]:
    found = list(filter(is_picture, folder.iterdir()))
    if not found:
        raise BadUpload(f"{folder} has no pictures directly in it (looked for {' '.join(sorted(PICTURES))})")
    return sorted(found, key=lambda path: natural_key(path.name))


def wish_of(wishes: Mapping[str, object]) -> SequenceCreate:
    """What the publisher asks for. Raises BadUpload with the first thing that cannot be had."""
    try:
        return SequenceCreate.model_validate(wishes)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadUpload(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def completion_of(priority: str) -> SequenceComplete:
    """How urgent the publisher's job is. Raises BadUpload."""
    try:
        return SequenceComplete.model_validate({"priority": priority})
    except ValidationError as error:
        raise BadUpload(f"priority: {error.errors()[0]['msg']}") from None


def push(
    run: Run,
    api: Api,
    paths: Iterable[Path],
    wish: SequenceCreate,
    complete: SequenceComplete,
    resume: str | None,
    report: Report = silent,
) -> Job:
    """Collect and send pictures, and start their job; with `resume`, into that sequence, if it is still open.

    The first step that is reported names a new sequence, which `resume` needs after a crash. An error after
    it was opened has a note that tells how to go on.
    """
    files = collect(paths)
    if is_archive(files[0]):
        if resume:
            raise BadUpload(f"{files[0]} goes up in one piece and cannot be resumed; push it anew")
        return _upload(run, api, files[0], wish, complete)
    sequence = resume or run(api.create, wish).id
    if not resume:
        report(Step("sequence", 1, 1, sequence))
    try:
        put_all(run, api, sequence, files, report)
        return run(api.complete, sequence, complete)
    except MicrodoseError as error:
        if resume is None:
            error.add_note(f"what has arrived is kept: go on with --resume {sequence}")
        raise


def _upload(run: Run, api: Api, archive: Path, wish: SequenceCreate, complete: SequenceComplete) -> Job:
    try:
        return run(api.upload, archive, wish, complete)
    except OSError as error:
        raise BadUpload(f"cannot read {archive}: {error.strerror or error}") from error


def put_all(run: Run, api: Api, sequence: str, files: Sequence[Path], report: Report = silent) -> None:
    """Put every file that is not there yet in its place of the open sequence, several at a time.

    A picture that the server refuses does not stop the others. Raises BadUpload about the refused ones;
    ProblemError if the server wants none of them (wrong key, say); Unavailable once retrying one was in vain.
    """
    there = {frame.n: frame.digest for frame in run(api.frames, sequence)}
    if len(there) > len(files):
        raise BadUpload(
            f"sequence {sequence} has {len(there)} frames already, but {len(files)} files are given"
        )
    refused: dict[int, ProblemError] = {}
    pool = ThreadPoolExecutor(LANES, thread_name_prefix="microdose-put")
    try:
        put = partial(_put, run, api, sequence)
        places = {pool.submit(put, n, file, there.get(n)): n for n, file in enumerate(files)}
        for done, future in enumerate(as_completed(places), start=1):
            n = places[future]
            try:
                future.result()
            except ProblemError as error:
                if error.problem.status not in PICTURE_REFUSED:
                    raise
                refused[n] = error
            report(Step("uploading", done, len(files), files[n].name))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if refused:
        n = min(refused)
        count = f"{len(refused)} of {len(files)}"
        raise BadUpload(f"{count} pictures are refused; the first is {files[n]}: {refused[n]}")


def _put(run: Run, api: Api, sequence: str, n: int, file: Path, there: str | None) -> None:
    """Put one file in its place, unless the same bytes are there already."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadUpload(f"cannot read {file}: {error.strerror or error}") from error
    if digest_of(data) != there:
        run(api.put_frame, sequence, n, data, file.name[:MAX_NAME])
