"""Keeping a server from growing for ever: blobs that nothing names, what was given up, records of old jobs.

    data_dir/gc.json    which files were unnamed since when; locked while one process collects

Every worker does it once an hour between two jobs, `microdose-server gc` at once.
"""

import fcntl
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO

import redis

from microdose.errors import NotFound
from microdose_server.codec.folder import load_bases
from microdose_server.jobs.retention import forget_jobs
from microdose_server.jobs.scratch import clear_scratch
from microdose_server.settings import Settings
from microdose_server.store.abandoned import forget_abandoned
from microdose_server.store.blobs import checkpoints, originals, public_blobs
from microdose_server.store.named import (
    named_by_base,
    named_by_checkpoints,
    named_by_drafts,
    named_by_frames,
    named_by_manifests,
)
from microdose_server.store.sequences import Sequences
from microdose_server.store.sweep import Swept, sweep

EVERY_S = 3600.0
Unnamed = dict[str, dict[str, float]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection removed: public blobs, originals, checkpoints, their bytes, records of jobs,
    sequences that were given up, and folders that jobs left behind.
    """

    blobs: int = 0
    originals: int = 0
    checkpoints: int = 0
    freed: int = 0
    jobs: int = 0
    sequences: int = 0
    folders: int = 0


def collect(settings: Settings, client: redis.Redis, *, every_s: float = 0.0) -> Collected | None:
    """Collect, unless the last time is less than `every_s` seconds ago or another process does it now.

    An empty Redis is taken for a wrong one: then no blob is touched.

    Raises:
        NotFound, CorruptStream, UnsupportedVersion: a manifest cannot be read; no blob was removed.
        redis.RedisError: Redis is away, or refuses; nothing was removed but perhaps records of jobs and
            sequences that were given up.
    """
    with _state(settings) as file:
        if file is None:
            return None
        last = _read(file)
        now = time.time()
        if now - last.get("last", {}).get("", 0.0) < every_s:
            return None
        jobs = forget_jobs(client, datetime.now(UTC) - timedelta(seconds=settings.keep_jobs_s))
        open_since = datetime.now(UTC) - timedelta(seconds=settings.keep_open_s)
        sequences = forget_abandoned(client, open_since)
        swept = _sweep(settings, client, last, now)
        state = {"last": {"": now}} | {kind: each.unnamed for kind, each in swept.items()}
        file.seek(0)
        file.truncate()
        json.dump(state, file)
    removed = {kind: each.removed for kind, each in swept.items()}
    freed = sum(each.freed for each in swept.values())
    folders = clear_scratch(settings.data_dir)
    done = Collected(**removed, freed=freed, jobs=jobs, sequences=sequences, folders=folders)
    log.info("collected: %s", done)
    return done


def _sweep(settings: Settings, client: redis.Redis, last: Unnamed, now: float) -> dict[str, Swept]:
    """Every kind of file, by its name in `Collected`."""
    if not Sequences(client).page(limit=1).items:
        return {}
    blobs = public_blobs(settings.data_dir)
    stores = {
        "blobs": (blobs, named_by_manifests(client, blobs) | _offered()),
        "originals": (originals(settings.data_dir), named_by_frames(client) | named_by_drafts(client)),
        "checkpoints": (checkpoints(settings.data_dir), named_by_checkpoints(client)),
    }
    return {
        kind: sweep(store, named, last.get(kind, {}), now=now, grace_s=settings.gc_grace_s)
        for kind, (store, named) in stores.items()
    }


def _offered() -> set[str]:
    """The bases that come with the server, which the API publishes before any manifest names them."""
    try:
        bases = load_bases().values()
    except (NotFound, FileNotFoundError):
        return set()
    return {digest for base in bases for digest in named_by_base(base.digest, base.document)}


@contextmanager
def _state(settings: Settings) -> Iterator[IO[str] | None]:
    """The state file, locked; None while another process has it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "gc.json").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


def _read(file: IO[str]) -> Unnamed:
    """What the last collection noted; nothing where it was cut off: the grace time then begins anew."""
    file.seek(0)
    try:
        found = json.load(file)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
