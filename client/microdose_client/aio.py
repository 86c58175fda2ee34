"""The client for asyncio: pushes pictures to a server, pulls them back over HTTP or straight from Redis."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from microdose.cache_dir import cache_dir as default_cache_dir
from microdose.errors import Unavailable
from microdose.manifest import Manifest
from microdose.patience import RETRY, TIMEOUTS, Retry, Timeouts
from microdose.resources import BaseInfo, DoseAim, DoseChoice, Job, Priority, Sequence
from microdose_client import offline, push
from microdose_client.api import Api
from microdose_client.bus import Bus, Redis
from microdose_client.cache import CACHE_BYTES, BlobCache
from microdose_client.crew import Crew
from microdose_client.follow import follow, has_left
from microdose_client.http import Http, Transport
from microdose_client.live import AsyncLive, publish_live
from microdose_client.pages import every
from microdose_client.place import Action, Place
from microdose_client.play import DecodedPicture, Gone, Player, never, snapshot
from microdose_client.progress import Report, silent
from microdose_client.pull import pull
from microdose_client.reader import PatientReader, Reader
from microdose_client.results import Info, Pulled, info_of
from microdose_client.source import Source
from microdose_client.threads import with_run
from microdose_client.waiting import wait_for

DEFAULT_SERVER = "http://127.0.0.1:8710"


class AsyncClient:
    """A connection to Microdose for one event loop. Use it in an `async with` block, or `aclose` it.

        async with AsyncClient("http://127.0.0.1:8710", key="md_...") as client:
            job = await client.push(["holiday/"], name="Holiday")
            await client.wait(job.id)
            async for picture in client.pictures(job.sequence):
                print(picture.n, picture.name, picture.pixels.shape)

    Reading takes published bytes from `redis` first, if given, and from `server` what cannot be had there.
    Decoding, files and hashes are work for threads; the event loop is never held up.

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
        cache_bytes: int = CACHE_BYTES,
        transport: Transport | None = None,
        timeouts: Timeouts = TIMEOUTS,
        retry: Retry = RETRY,
    ) -> None:
        """Connects at the first call.

        Args:
            server: URL of the server; with neither server nor redis, http://127.0.0.1:8710.
            redis: URL of a Redis that holds published sequences, or a `redis.Redis` or `redis.asyncio.Redis`
                to read through, which must not decode responses and stays open.
            key: API key `md_<id>_<secret>` for the server.
            cache_dir: where bases and doses are kept between runs; by default the user's cache folder.
            cache_bytes: the most that is kept there; what was not used for longest goes first.
            transport: an httpx transport to use in place of the network, e.g. `httpx.ASGITransport`. A
                blocking one works in threads.
            timeouts: how long to wait.
            retry: how often to try again.
        """
        if server is None and redis is None:
            server = DEFAULT_SERVER
        self._api: Api | None = None
        self._sources: list[Source] = []
        self._retry, self._crew = retry, Crew()
        if redis is not None:
            self._sources.append(Bus.connect(redis, timeouts) if isinstance(redis, str) else Bus(redis))
        if server is not None:
            self._api = Api(Http(server, key=key, timeouts=timeouts, retry=retry, transport=transport))
            self._sources.append(self._api)
        cache = BlobCache(Path(cache_dir) if cache_dir else default_cache_dir(), cache_bytes)
        self._reader = Reader(self._sources, cache)
        self._patient = PatientReader(self._sources, retry, cache)

    async def aclose(self) -> None:
        """End what still plays, and close every connection."""
        await self._crew.close()
        for source in self._sources:
            await source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Publishing

    async def push(
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
        """Send pictures (files, folders of them, one clip or one zip) and start the job that publishes them.

        `resume` is the id of a sequence whose push was interrupted: what has arrived is not sent again. An
        error after a sequence was opened carries a note (PEP 678) with that id, and so does the first step of
        `progress`. `dose` is auto, or a rung of the ladder: none, gains, low-rank, full; `aim` is what doses
        bring the student towards, originals or teacher; `lmbda` weighs bits against distortion when a rung is
        chosen, `dose_bytes` and `dose_seconds` cap what all doses cost; `refine` steps move the latents of
        each picture for what viewers will see of them; `profile` is the student that viewers decode with (see
        `bases`); `priority` is high, normal or low: a job waits for the more urgent ones. `progress` is
        called in a thread.
        Raises BadUpload for files that are missing, unreadable, refused or do not go together, and for wishes
        that cannot be had.
        """
        choice = {"dose": dose, "aim": aim, "lmbda": lmbda}
        caps = {"dose_bytes": dose_bytes, "dose_seconds": dose_seconds}
        wish = push.wish_of({"name": name, "profile": profile, "refine": refine, **choice, **caps})
        complete = push.completion_of(priority)
        api, files = self._server(), [Path(path) for path in paths]
        return await with_run(lambda run: push.push(run, api, files, wish, complete, resume, progress))

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
    ) -> AbstractAsyncContextManager[AsyncLive]:
        """Publish a live sequence: what is put is seen seconds later, and it ends with the block.

            async with client.live(name="Garden") as live:
                await live.put(pixels)  # uint8[height, width, 3], or a file

        `resume` is the id of a live sequence to go on with; viewers are told that pictures may be missing.
        `dose_bytes` and `dose_seconds` cap each of its doses. The rest is as for `push`. Raises BadUpload as
        that does.
        """
        choice = {"dose": dose, "aim": aim, "lmbda": lmbda}
        caps = {"dose_bytes": dose_bytes, "dose_seconds": dose_seconds}
        wish = push.wish_of({"name": name, "profile": profile, "live": True, **choice, **caps})
        return publish_live(self._server(), self._retry, wish, resume)

    async def wait(self, job: str, *, timeout: float | None = None, progress: Report = silent) -> Job:
        """The job once it has ended, however it ended: look at `state` and `error`.

        Raises Unavailable if it has not ended after `timeout` seconds (None: wait for ever).
        """
        return await wait_for(self._server(), job, timeout, progress)

    async def job(self, job: str) -> Job:
        """A job as it stands."""
        return await self._server().job(job)

    def jobs(self) -> AsyncGenerator[Job]:
        """All jobs, newest first, fetched page by page."""
        return every(self._server().jobs)

    async def cancel(self, job: str) -> Job:
        """Ask for a job to be stopped; the answer may still be running."""
        return await self._server().cancel(job)

    async def sequence(self, sequence: str) -> Sequence:
        """The state of a sequence and, once published, its measured results."""
        return await self._server().sequence(sequence)

    def sequences(self) -> AsyncGenerator[Sequence]:
        """All sequences, newest first, fetched page by page."""
        return every(self._server().sequences)

    async def delete(self, sequence: str) -> None:
        """Remove a sequence from the server."""
        await self._server().delete(sequence)

    async def bases(self) -> list[BaseInfo]:
        """The bases that the server encodes for."""
        return await self._server().bases()

    # Viewing

    async def manifest(self, sequence: str) -> Manifest:
        """The manifest of a published sequence. Raises CorruptStream, UnsupportedVersion."""
        return await self._reader.manifest(sequence)

    async def info(self, sequence: str) -> Info:
        """A published sequence at a glance. Raises as `manifest` does."""
        return info_of(await self.manifest(sequence))

    async def pictures(self, sequence: str, *, threads: int = 0) -> AsyncGenerator[DecodedPicture]:
        """The pictures that a sequence has now, in order, decoded as they are asked for.

        `threads` is for the synthesis; 0 takes all cores. Raises CorruptStream, DigestMismatch,
        UnsupportedVersion, UnknownBase, DoseMismatch, NotReproducible.
        """
        manifest = await self.manifest(sequence)
        async with aclosing(self._play(self._reader, manifest, snapshot(manifest), threads)) as pictures:
            async for picture in pictures:
                yield picture

    async def follow(
        self, sequence: str, *, start: int = 0, threads: int = 0
    ) -> AsyncGenerator[DecodedPicture]:
        """The pictures of a sequence from number `start` on, and all that come until it ends.

            async for picture in client.follow(sequence, start=-1):  # from the newest picture on
                print(picture.n, picture.epoch, picture.pixels.mean())

        A negative `start` counts from the newest picture. Each picture comes once and in order, through lost
        connections, restarts of the server and trimmed logs. The decoder of a new epoch is built as soon as
        it is announced, and used from the epoch's first picture on. Of a live sequence that keeps only a
        window of its pictures, those that have left it before they could be fetched are missing.

        Raises as `pictures` does; Removed when the sequence was removed; Unavailable after
        `Retry.outage_s` without a sign of life.
        """
        manifest = await self.manifest(sequence)
        actions = follow(self._reader, manifest, Place(sequence, start), self._retry)
        gone = partial(has_left, self._patient, sequence)
        async with aclosing(self._play(self._patient, manifest, actions, threads, gone)) as pictures:
            async for picture in pictures:
                yield picture

    async def pull(
        self,
        sequence: str,
        directory: str | Path,
        *,
        follow: bool = False,
        progress: Report = silent,
        threads: int = 0,
    ) -> Pulled:
        """Write every picture as PNG into `directory`, by its name or number.

        With `follow`, go on until the sequence ends. Raises as `pictures` and `follow` do.
        """
        if follow:
            info = await self.info(sequence)
            pictures = self.follow(sequence, threads=threads)
            pulled = await pull(pictures, info, Path(directory), progress, info.pictures if info.ended else 0)
            return replace(pulled, info=info_of(await self._patient.manifest(sequence)))
        manifest = await self.manifest(sequence)
        info = info_of(manifest)
        pictures = self._play(self._reader, manifest, snapshot(manifest), threads)
        return await pull(pictures, info, Path(directory), progress, info.pictures)

    async def export(self, sequence: str, path: str | Path, *, progress: Report = silent) -> int:
        """Write the sequence with all it needs into one .mds file; returns its size in bytes."""
        return await offline.export(self._reader, await self.manifest(sequence), Path(path), progress)

    async def _play(
        self,
        reader: Reader,
        manifest: Manifest,
        actions: AsyncGenerator[Action],
        threads: int,
        gone: Gone = never,
    ) -> AsyncGenerator[DecodedPicture]:
        base = await reader.base(manifest.base)
        player = Player(reader, Crew(self._crew), base, threads, gone)
        async with aclosing(player.play(actions)) as pictures:
            async for picture in pictures:
                yield picture

    def _server(self) -> Api:
        if self._api is None:
            raise Unavailable("this needs a server, and only a Redis was given; give a server URL too")
        return self._api
