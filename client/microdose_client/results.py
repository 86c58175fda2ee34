"""What the client found out, as frozen values: a sequence at a glance, and what a pull brought home."""

from dataclasses import dataclass
from pathlib import Path

from microdose.dose import DoseKind
from microdose.errors import CorruptStream
from microdose.manifest import ByteCounts, Manifest


@dataclass(frozen=True)
class Info:
    """A published sequence at a glance. `bpp_total`: bits of every byte but the base's, per pixel."""

    sequence: str
    name: str | None
    version: int
    ended: bool
    pictures: int
    pixels: int
    doses: tuple[DoseKind, ...]
    bytes: ByteCounts
    bpp_total: float


@dataclass(frozen=True)
class Pulled:
    """The result of decoding a sequence into files. Milliseconds are sums over all pictures."""

    info: Info
    files: tuple[Path, ...]
    entropy_ms: float
    hyper_ms: float
    synthesis_ms: float
    seconds: float
    """From the first request to the last file."""


def info_of(manifest: Manifest) -> Info:
    """The manifest's sums. Raises CorruptStream if it counts less than the blobs it names must weigh."""
    named = sum(descriptor.size for descriptor in manifest.descriptors()) - manifest.base.size
    total = manifest.bytes.total  # the named blobs and, among the headers, the manifest itself
    if total < named:
        raise CorruptStream(
            f"the manifest of {manifest.sequence} counts {total} bytes; its blobs have {named}"
        )
    pixels = sum(segment.width * segment.height for segment in manifest.segments)
    return Info(
        sequence=manifest.sequence,
        name=manifest.name,
        version=manifest.version,
        ended=manifest.ended,
        pictures=len(manifest.segments),
        pixels=pixels,
        doses=tuple(entry.kind for entry in manifest.epochs),
        bytes=manifest.bytes,
        bpp_total=8 * total / pixels if pixels else 0.0,
    )
