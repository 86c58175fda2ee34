"""A sequence published on loopback, for benchmarks: the real API, a real Valkey, and the blobs in both."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from microdose import keys
from microdose.base import Descriptor, LoadedBase
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import Unavailable
from microdose.manifest import BASE_TYPE, SEGMENT_TYPE, ByteCounts, EpochEntry, Manifest, SegmentEntry
from microdose.resources import SequenceCreate
from microdose.segment import parse_segment
from microdose_server.api.app import create_app
from microdose_server.api.connection import bounded
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import put_hot_blob
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from microdose_server.store.sequences import Sequences

START_S = 60.0
HOT_S = 24 * 3600


@dataclass(frozen=True)
class Published:
    """Where a viewer finds the sequence."""

    sequence: str
    server: str
    key: str
    redis: str


@contextmanager
def published(base: LoadedBase, segments: Sequence[bytes], folder: Path) -> Iterator[Published]:
    """Publish coded pictures, without a dose, for as long as the context lasts. `folder`: for all data."""
    with EmbeddedValkey(folder) as valkey, connect(valkey.url, block_s=30) as bus:
        settings = Settings(data_dir=folder, redis_url=valkey.url)
        sequence = Sequences(bus).create(SequenceCreate()).id
        document = base.document.to_bytes()
        for data in (document, base.student, base.hyper, *segments):
            public_blobs(folder).put(data)
            put_hot_blob(bus, digest_of(data), data, "application/octet-stream", seconds=HOT_S)
        bus.set(keys.manifest(sequence), _manifest(sequence, document, segments).to_bytes())
        _, key = ApiKeys(bus).create([Scope.VIEW])
        with _serving(settings) as server:
            yield Published(sequence, server, key, valkey.url)


def _manifest(sequence: str, document: bytes, segments: Sequence[bytes]) -> Manifest:
    entries = []
    for n, data in enumerate(segments):
        header = parse_segment(data).header
        blob = Descriptor(media_type=SEGMENT_TYPE, digest=digest_of(data), size=len(data))
        entries.append(SegmentEntry(n=n, epoch=0, width=header.width, height=header.height, blob=blob))
    return Manifest(
        sequence=sequence,
        version=1,
        seq=0,
        base=Descriptor(media_type=BASE_TYPE, digest=digest_of(document), size=len(document)),
        epochs=(EpochEntry(epoch=0, kind=DoseKind.NONE),),
        segments=tuple(entries),
        ended=True,
        bytes=ByteCounts(latents=sum(map(len, segments))),
    )


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    config = bounded(create_app(settings, lambda blobs: ()), settings.limits)
    config.port = 0
    with running(uvicorn.Server(config)) as url:
        yield url


@contextmanager
def running(server: uvicorn.Server) -> Iterator[str]:
    """A server in a thread of this process; yields its URL. Raises Unavailable if it does not start."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable("the API did not start on loopback")
            time.sleep(0.01)
        yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join()
