"""Which blobs are in use: the marking half of garbage collection. What it cannot read, it raises.

manifests of all sequences --> base, doses, segments     public
bases of manifests or on offer --> their graphs          public
frames of sequences that a job may need, drafts of jobs  originals
checkpoints of jobs                                      checkpoints
"""

from collections.abc import Iterator

import redis

from microdose.base import MAX_BASE_BYTES, Base
from microdose.document import parse_document
from microdose.manifest import Manifest, parse_manifest
from microdose.resources import Sequence, SequenceState
from microdose_server.store.blobs import BlobStore
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_checkpoint, read_drafts
from microdose_server.store.sequences import IN_WORK, Sequences

PAGE = 200


def all_sequences(client: redis.Redis) -> Iterator[Sequence]:
    """Every sequence that was there when this began, and is still there when it is reached."""
    sequences, cursor = Sequences(client), None
    while True:
        page = sequences.page(limit=PAGE, cursor=cursor)
        yield from page.items
        if page.next is None:
            return
        cursor = page.next


def named_by_base(digest: str, base: Base) -> set[str]:
    """Digests of a base's blobs: its document and its graphs."""
    return {digest, base.student.digest, base.hyper.digest}


def named_by_manifests(client: redis.Redis, store: BlobStore) -> set[str]:
    """Digests of the public blobs that a manifest, or a base that one names, names.

    Raises:
        NotFound, CorruptStream, UnsupportedVersion: a manifest or a base that cannot be read.
    """
    named: set[str] = set()
    bases: set[str] = set()
    for sequence in all_sequences(client):
        if data := read_manifest(client, sequence.id):
            manifest = parse_manifest(data)
            named |= _of_manifest(manifest)
            bases.add(manifest.base.digest)
    for digest in bases:
        document = parse_document(Base, store.get(digest), MAX_BASE_BYTES)
        named |= named_by_base(digest, document)
    return named


def named_by_frames(client: redis.Redis) -> set[str]:
    """Digests of the originals of sequences that are not published yet, failed ones included."""
    sequences = Sequences(client)
    return {
        frame.digest
        for sequence in all_sequences(client)
        if sequence.state is not SequenceState.PUBLISHED
        for frame in sequences.frames(sequence.id)
    }


def named_by_drafts(client: redis.Redis) -> set[str]:
    """Digests of the encoded pictures of jobs that have not ended, for another attempt."""
    return {
        digest
        for sequence in all_sequences(client)
        if sequence.state in IN_WORK
        for draft in read_drafts(client, sequence.id).values()
        for digest in (draft.segment, draft.refined)
        if digest is not None
    }


def named_by_checkpoints(client: redis.Redis) -> set[str]:
    """Digests of the checkpoints of jobs that have not ended."""
    found = (
        read_checkpoint(client, sequence.id)
        for sequence in all_sequences(client)
        if sequence.state in IN_WORK
    )
    return {digest for digest in found if digest is not None}


def _of_manifest(manifest: Manifest) -> set[str]:
    doses = {epoch.dose.digest for epoch in manifest.epochs if epoch.dose}
    return doses | {segment.blob.digest for segment in manifest.segments}
