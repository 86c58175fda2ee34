"""The client for blocking code: an AsyncClient on an event loop in a thread of its own."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from microdose.manifest import Manifest
from microdose.patience import RETRY, TIMEOUTS, Retry, Timeouts
from microdose.resources import BaseInfo, DoseAim, DoseChoice, Job, Priority, Sequence
from microdose_client.aio import AsyncClient
from microdose_client.bus import Redis
from microdose_client.cache import CACHE_BYTES
from microdose_client.http import Transport
from microdose_client.live import Live, blocking
from microdose_client.play import DecodedPicture
from microdose_client.progress import Report, silent
from microdose_client.results import Info, Pulled
from microdose_client.threads import Loop


class Client:
    """A connection to Microdose. Use it in a `with` block, or close it; safe to share between threads.

        with Client("http://127.0.0.1:8710", key="md_...") as client:
            job = client.push(["holiday/"], name="Holiday")
            client.wait(job.id)
            for picture in client.pictures(job.sequence):
                print(picture.n, picture.name, picture.pixels.shape)

    It does what an `AsyncClient` does, under the same names, and raises the same errors.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        redis: str | Redis | None = None,
        key: str | None = None,
        cache_dir: str | Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        transport: Transport | None = None,
        timeouts: Timeouts = TIMEOUTS,
        retry: Retry = RETRY,
    ) -> None:
        self._loop = Loop()
        self._client = AsyncClient(
            server,
            redis=redis,
            key=key,
            cache_dir=cache_dir,
            cache_bytes=cache_bytes,
            transport=transport,
            timeouts=timeouts,
            retry=retry,
        )

    def close(self) -> None:
        if not self._loop.closed:
            self._loop.run(self._client.aclose)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Publishing

    def push(
        self,
        paths: Iterable[str | Path],
        *,
        name: str | None = None,
        dose: str = DoseChoice.AUTO,
        aim: str = DoseAim.ORIGINALS,
        lmbda: float | None = None,
        dose_bytes: int | None = None,
        dose_seconds: float | None = None,
        refine: int | None = None,
        priority: str = Priority.NORMAL,
        profile: str = "standard",
        resume: str | None = None,
        progress: Report = silent,
    ) -> Job:
        return self._loop.run(
            self._client.push,
            paths,
            name=name,
            dose=dose,
            aim=aim,
            lmbda=lmbda,
            dose_bytes=dose_bytes,
            dose_seconds=dose_seconds,
            refine=refine,
            priority=priority,
            profile=profile,
            resume=resume,
            progress=progress,
        )

    def live(
        self,
        *,
        name: str | None = None,
        dose: str = DoseChoice.AUTO,
        aim: str = DoseAim.ORIGINALS,
        lmbda: float | None = None,
        dose_bytes: int | None = None,
        dose_seconds: float | None = None,
        profile: str = "standard",
        resume: str | None = None,
    ) -> AbstractContextManager[Live]:
        opened = self._client.live(
            name=name,
            dose=dose,
            aim=aim,
            lmbda=lmbda,
            dose_bytes=dose_bytes,
            dose_seconds=dose_seconds,
            profile=profile,
            resume=resume,
        )
        return blocking(self._loop, opened)

    def wait(self, job: str, *, timeout: float | None = None, progress: Report = silent) -> Job:
        return self._loop.run(self._client.wait, job, timeout=timeout, progress=progress)

    def job(self, job: str) -> Job:
        return self._loop.run(self._client.job, job)

    def jobs(self) -> Iterator[Job]:
        return self._loop.iterate(self._client.jobs())

    def cancel(self, job: str) -> Job:
        return self._loop.run(self._client.cancel, job)

    def sequence(self, sequence: str) -> Sequence:
        return self._loop.run(self._client.sequence, sequence)

    def sequences(self) -> Iterator[Sequence]:
        return self._loop.iterate(self._client.sequences())

    def delete(self, sequence: str) -> None:
        return self._loop.run(self._client.delete, sequence)

    def bases(self) -> list[BaseInfo]:
        return self._loop.run(self._client.bases)

    # Viewing

    def manifest(self, sequence: str) -> Manifest:
        return self._loop.run(self._client.manifest, sequence)

    def info(self, sequence: str) -> Info:
        return self._loop.run(self._client.info, sequence)

    def pictures(self, sequence: str, *, threads: int = 0) -> Iterator[DecodedPicture]:
        return self._loop.iterate(self._client.pictures(sequence, threads=threads))

    def follow(self, sequence: str, *, start: int = 0, threads: int = 0) -> Iterator[DecodedPicture]:
        return self._loop.iterate(self._client.follow(sequence, start=start, threads=threads))

    def pull(
        self,
        sequence: str,
        directory: str | Path,
        *,
        follow: bool = False,
        progress: Report = silent,
        threads: int = 0,
    ) -> Pulled:
        return self._loop.run(
            self._client.pull, sequence, directory, follow=follow, progress=progress, threads=threads
        )

    def export(self, sequence: str, path: str | Path, *, progress: Report = silent) -> int:
        return self._loop.run(self._client.export, sequence, path, progress=progress)


for _name in ("__init__", *(name for name in vars(Client) if not name.startswith("_"))):
    getattr(Client, _name).__doc__ = getattr(AsyncClient, "aclose" if _name == "close" else _name).__doc__
