"""Two published pictures and their originals. Those of `tiny_sequence` are too small for LPIPS."""

import numpy as np
import pytest

from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.manifest import SEGMENT_TYPE, ByteCounts, EpochEntry, SegmentEntry
from microdose.mds import Mds, write_mds
from microdose_server.evaluate.compare import Comparison
from microdose_server.training.data import Pixels
from tests.tiny_base import describe, tiny_base, tiny_segment, tiny_sequence

WIDTH, HEIGHT, PICTURES = 96, 72, 2


@pytest.fixture(scope="session")
def segments() -> list[bytes]:
    return [tiny_segment(tiny_base(), WIDTH, HEIGHT, seed=seed) for seed in range(PICTURES)]


@pytest.fixture(scope="session")
def originals() -> list[Pixels]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(PICTURES)]


def comparison(segments: list[bytes], epoch: EpochEntry | None = None) -> Comparison:
    """The pictures published with a dose, or in `epoch`; their teacher is a network of the student's form."""
    dosed = tiny_sequence(1, tiny_base())
    entries = tuple(
        SegmentEntry(
            n=n, epoch=0, name=f"{n}.png", width=WIDTH, height=HEIGHT, blob=describe(data, SEGMENT_TYPE)
        )
        for n, data in enumerate(segments)
    )
    counts = ByteCounts(latents=sum(map(len, segments)))
    epochs = (epoch,) if epoch else dosed.manifest.epochs
    manifest = dosed.manifest.model_copy(update={"segments": entries, "bytes": counts, "epochs": epochs})
    blobs = dict(dosed.blobs) | {digest_of(data): data for data in segments}
    return Comparison(Mds.open(write_mds(manifest, blobs)), tiny_base(seed=1).student)


@pytest.fixture(scope="session")
def dosed(segments: list[bytes]) -> Comparison:
    return comparison(segments)


@pytest.fixture(scope="session")
def undosed(segments: list[bytes]) -> Comparison:
    return comparison(segments, EpochEntry(epoch=0, kind=DoseKind.NONE))
