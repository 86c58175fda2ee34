"""One object that pushes pictures to a server and pulls them back, over HTTP or straight from Redis."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from microdose.cache_dir import cache_dir as default_cache_dir
from microdose.errors import Unavailable
from microdose.manifest import Manifest
from microdose.resources import BaseInfo, DoseChoice, Job, Page, Priority, Sequence
from microdose_client import offline, push
from microdose_client.api import Api
from microdose_client.bus import Bus, Redis
from microdose_client.cache import BlobCache
from microdose_client.http import Http, Transport
from microdose_client.patience import RETRY, TIMEOUTS, Retry, Timeouts
from microdose_client.play import DecodedPicture, play
from microdose_client.progress import Report, Step, silent
from microdose_client.pull import pull
from microdose_client.reader import Reader
from microdose_client.results import Info, Pulled, info_of
from microdose_client.source import Source

DEFAULT_SERVER = "http://127.0.0.1:8710"
PAGE = 100
POLL_S = 2.0
T = TypeVar("T", Job, Sequence)


class Client:
    """A connection to Microdose. Use it in a `with` block, or close it; safe to share between threads.

        with Client("http://127.0.0.1:8710", key="md_…") as client:
            job = client.wait(client.push(["holiday/"], name="Holiday").id)
            for picture in client.pictures(job.sequence):
                print(picture.n, picture.pixels.shape)

    Reading takes published bytes from `redis` first, if given, and from `server` what cannot be had there.
    Every method raises errors of the one tree under `microdose.errors.MicrodoseError`: Unavailable (out of
    reach or too slow), NotFound, ProblemError (a refusal, of the key for instance), and those named there.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        redis: str | Redis | None = None,
        key: str | None = None,
        cache_dir: str | Path | None = None,
        transport: Transport | None = None,
        timeouts: Timeouts = TIMEOUTS,
        retry: Retry = RETRY,
    ) -> None:
        """Connects at the first call.

        Args:
            server: URL of the server; with neither server nor redis, http://127.0.0.1:8710.
            redis: URL of a Redis that holds published sequences, or a `redis.Redis` to read through,
                which must not decode responses and stays open.
            key: API key `md_<id>_<secret>` for the server.
            cache_dir: where bases and doses are kept between runs; by default the user's cache folder.
            transport: an httpx transport to use in place of the network, e.g. `httpx.WSGITransport`.
            timeouts: how long to wait.
            retry: how often to try again.
        """
        if server is None and redis is None:
            server = DEFAULT_SERVER
        self._api: Api | None = None
        self._sources: list[Source] = []
        if redis is not None:
            self._sources.append(Bus.connect(redis, timeouts) if isinstance(redis, str) else Bus(redis))
        if server is not None:
            self._api = Api(Http(server, key=key, timeouts=timeouts, retry=retry, transport=transport))
            self._sources.append(self._api)
        cache = BlobCache(Path(cache_dir) if cache_dir else default_cache_dir())
        self._reader = Reader(self._sources, cache)

    def close(self) -> None:
        """Close every connection."""
        for source in self._sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Publishing

    def push(
        self,
        paths: Iterable[str | Path],
        *,
        name: str | None = None,
        dose: str = DoseChoice.AUTO,
        lmbda: float | None = None,
        priority: str = Priority.NORMAL,
        profile: str = "standard",
        resume: str | None = None,
        progress: Report = silent,
    ) -> Job:
        """Send pictures (files, folders of them, one clip or one zip) and start the job that publishes them.

        `resume` is the id of a sequence whose push was interrupted: what has arrived is not sent again. An
        error after a sequence was opened carries a note (PEP 678) with that id. `dose` is auto, none or full;
        `lmbda` weighs bits against distortion when the dose is chosen; `profile` is the student that viewers
        decode with (see `bases`); `priority` is high, normal or low: a job waits for the more urgent ones.
        Raises BadUpload for files that are missing, unreadable, refused or do not go together, and for wishes
        that cannot be had.
        """
        wish = push.wish_of(name, dose, lmbda, profile)
        complete = push.completion_of(priority)
        return push.push(self._server(), map(Path, paths), wish, complete, resume, progress)

    def wait(self, job: str, *, timeout: float | None = None, progress: Report = silent) -> Job:
        """The job once it has ended, however it ended: look at `state` and `error`.

        Raises Unavailable if it has not ended after `timeout` seconds (None: wait for ever).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = POLL_S if deadline is None else min(POLL_S, deadline - time.monotonic())
            state = self._server().job(job, wait=max(left, 0.0))
            progress(_step_of(state))
            if state.state.final:
                return state
            if left <= 0:
                raise Unavailable(
                    f"job {job} is still {state.state} after {timeout:g} s; wait again, or cancel it"
                )

    def job(self, job: str) -> Job:
        """A job as it stands."""
        return self._server().job(job)

    def jobs(self) -> Iterator[Job]:
        """All jobs, newest first, fetched page by page."""
        return _all(self._server().jobs)

    def cancel(self, job: str) -> Job:
        """Ask for a job to be stopped; the answer may still be running."""
        return self._server().cancel(job)

    def sequence(self, sequence: str) -> Sequence:
        """The state of a sequence and, once published, its measured results."""
        return self._server().sequence(sequence)

    def sequences(self) -> Iterator[Sequence]:
        """All sequences, newest first, fetched page by page."""
        return _all(self._server().sequences)

    def delete(self, sequence: str) -> None:
        """Remove a sequence from the server."""
        self._server().delete(sequence)

    def bases(self) -> list[BaseInfo]:
        """The bases that the server encodes for."""
        return self._server().bases()

    # Viewing

    def manifest(self, sequence: str) -> Manifest:
        """The manifest of a published sequence. Raises CorruptStream, UnsupportedVersion."""
        return self._reader.manifest(sequence)

    def info(self, sequence: str) -> Info:
        """A published sequence at a glance. Raises as `manifest` does."""
        return info_of(self.manifest(sequence))

    def pictures(self, sequence: str, *, threads: int = 0) -> Iterator[DecodedPicture]:
        """The pictures of a published sequence in order, decoded as they are asked for.

        `threads` is for the synthesis; 0 takes all cores. Raises CorruptStream, DigestMismatch,
        UnsupportedVersion, UnknownBase, DoseMismatch, NotReproducible.
        """
        return play(self._reader, self.manifest(sequence), threads)

    def pull(
        self, sequence: str, directory: str | Path, *, progress: Report = silent, threads: int = 0
    ) -> Pulled:
        """Write every picture as PNG into `directory`, by its name or number. Raises as `pictures` does."""
        return pull(self._reader, self.manifest(sequence), Path(directory), progress, threads)

    def export(self, sequence: str, path: str | Path, *, progress: Report = silent) -> int:
        """Write the sequence with all it needs into one .mds file; returns its size in bytes."""
        return offline.export(self._reader, self.manifest(sequence), Path(path), progress)

    def _server(self) -> Api:
        if self._api is None:
            raise Unavailable("this needs a server, and only a Redis was given; give a server URL too")
        return self._api


def _all(page: Callable[[int, str | None], Page[T]]) -> Iterator[T]:
    cursor: str | None = None
    while True:
        part = page(PAGE, cursor)
        yield from part.items
        cursor = part.next
        if cursor is None:
            return


def _step_of(job: Job) -> Step:
    remarks = []
    if job.loss is not None:
        remarks.append(f"loss {job.loss:.4g}")
    if job.eta_s is not None:
        remarks.append(f"{job.eta_s:.0f} s left")
    return Step(job.phase or job.state, job.step, job.steps, ", ".join(remarks))
