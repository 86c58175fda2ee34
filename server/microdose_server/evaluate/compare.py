"""A published sequence next to its originals: every decoder, every codec, picture by picture.

    segment -> Decoder with the teacher's generator in the student's place -> teacher
            -> Decoder without the dose                                    -> generic
            -> the viewer's own decoder and dose                           -> dosed
    original -> WebP, AVIF at no fewer bytes (the picture's share of the dose counted) -> webp, avif

The teacher's generator is a graph like any student's, so the same decoder plays it and the times compare.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from PIL import Image

from microdose.base import LoadedBase, load_base
from microdose.changes import parts_of
from microdose.decoder import Decoder, Picture
from microdose.dose import parse_dose
from microdose.manifest import ByteCounts
from microdose.mds import Mds
from microdose.segment import parse_segment
from microdose_server.evaluate.codecs import Codec, encode_to_bytes
from microdose_server.evaluate.plots import Cell, centre, contact_sheet
from microdose_server.evaluate.report import PictureReport, judge
from microdose_server.training.data import Pixels

RIVALS = (Codec.WEBP, Codec.AVIF)
TITLES = {
    "original": "original",
    "teacher": "teacher",
    "generic": "generic student",
    "dosed": "dosed student",
    "webp": "WebP, no fewer bytes",
    "avif": "AVIF, no fewer bytes",
}
CELL = (480, 320)  # the most of a picture that a contact sheet shows: width and height, in pixels


@dataclass(frozen=True, eq=False)
class Compared:
    """One picture in every variant, the original among them, and what was measured of it."""

    shown: dict[str, Pixels]
    report: PictureReport


def base_of(mds: Mds) -> LoadedBase:
    """The base of an exported sequence, every byte verified."""
    return load_base(mds.blob(mds.manifest.base.digest), lambda wanted: mds.blob(wanted.digest))


class Comparison:
    """The decoders of one sequence of a single epoch. `teacher` is the teacher's generator as ONNX."""

    def __init__(self, mds: Mds, teacher: bytes) -> None:
        self.mds, self.teacher = mds, teacher
        self.base = base_of(mds)
        (epoch,) = mds.manifest.epochs
        self.dose = mds.blob(epoch.dose.digest) if epoch.dose else None
        self.decoders = {
            "teacher": Decoder(replace(self.base, student=teacher)),
            "generic": Decoder(self.base),
            "student": Decoder(self.base, *([] if self.dose is None else [self.dose])),
        }

    def params(self) -> dict[str, int]:
        """Weights of the teacher's decoder and of the student, and how many numbers the dose holds."""
        changes = parse_dose(self.dose, self.base).changes if self.dose else ()
        return {
            "teacher_decoder": parameters_of(self.teacher),
            "student": self.base.document.parameters,
            "dose": sum(part.size for change in changes for part in parts_of(change)),
        }

    def pictures(self, originals: Sequence[Pixels], pulled: Sequence[Pixels] = ()) -> Iterator[Compared]:
        """Every picture of the sequence, next to its original (same order).

        `pulled` are the pictures as a viewer decoded them; left out, they are decoded here.
        """
        segments = [self.mds.blob(entry.blob.digest) for entry in self.mds.manifest.segments]
        decoded = {name: decode_all(decoder, segments) for name, decoder in self.decoders.items()}
        for n, original in enumerate(originals):
            shown = {name: pictures[n] for name, pictures in decoded.items()}
            yield self._picture(n, segments[n], original, shown, pulled[n] if pulled else None)

    def _picture(
        self, n: int, segment: bytes, original: Pixels, decoded: Mapping[str, Picture], pulled: Pixels | None
    ) -> Compared:
        entries = self.mds.manifest.segments
        share = (len(self.dose) if self.dose else 0) / len(entries)
        target = len(segment) + math.ceil(share)
        variants = {
            "teacher": decoded["teacher"].pixels,
            "generic": decoded["generic"].pixels,
            "dosed": decoded["student"].pixels if pulled is None else pulled,
            **{codec.value: encode_to_bytes(original, codec, target).pixels for codec in RIVALS},
        }
        timings = {name: decoded[name].timings for name in ("teacher", "student")}
        counts = bytes_of(segment, int(share))
        report = judge(entries[n].name or str(n), original, variants, counts, timings)
        return Compared({"original": original, **variants}, report)


def decode_all(decoder: Decoder, segments: Sequence[bytes]) -> list[Picture]:
    """Every segment, one decoder at a time, so that no other's idle threads are in the timings."""
    decoder.decode(segments[0])  # the first run pays for memory that later ones reuse
    return [decoder.decode(segment) for segment in segments]


def parameters_of(graph: bytes) -> int:
    """How many weights an ONNX graph holds."""
    constants = onnx.load_from_string(graph).graph.initializer
    return sum(math.prod(each.dims) for each in constants if each.data_type == onnx.TensorProto.FLOAT)


def bytes_of(segment: bytes, dose: int) -> ByteCounts:
    """A segment's bytes, split into entropy-coded latents and everything around them."""
    parsed = parse_segment(segment)
    latents = len(parsed.hyper) + len(parsed.latents)
    return ByteCounts(latents=latents, dose=dose, headers=len(segment) - latents)


def comparison_sheet(compared: Sequence[Compared], rows: int = 4) -> Image.Image:
    """A contact sheet of some pictures, evenly chosen: every variant side by side, its quality below."""
    chosen = [compared[int(n)] for n in np.linspace(0, len(compared) - 1, min(rows, len(compared)))]
    cells = [
        [Cell(centre(one.shown[variant], *CELL), _caption(one.report, variant)) for variant in TITLES]
        for one in chosen
    ]
    return contact_sheet(list(TITLES.values()), cells)


def _caption(report: PictureReport, variant: str) -> str:
    if variant == "original":
        return report.name
    return f"{report.psnr[variant]:.2f} dB   LPIPS {report.lpips[variant]:.3f}"
