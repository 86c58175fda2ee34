"""The report of one published sequence: what it cost, how it looks, how long it takes to decode.

    per picture: bytes, quality of every variant, milliseconds of every stage  ->  sums, means, medians

Variants are the ways to show a picture: the teacher's, the generic student's, the dosed student's, and
other codecs' at no fewer bytes. Quality of a set is the mean over its pictures, times are medians. A dose
that aims at the originals leads the student towards them, and so may lead it away from the teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from microdose.decoder import Timings
from microdose.manifest import ByteCounts
from microdose_server.evaluate.metrics import lpips, psnr
from microdose_server.training.data import Pixels

STUDENTS = ("generic", "dosed")


@dataclass(frozen=True)
class PictureReport:
    """One picture. `psnr` (dB) and `lpips` by variant, against the original; `*_to_teacher` by student.

    `decode_ms` by decoder (teacher, student), then by stage, in milliseconds. `bytes.dose` is this
    picture's share of the dose, rounded down.
    """

    name: str
    pixels: int
    bytes: ByteCounts
    psnr: dict[str, float]
    lpips: dict[str, float]
    psnr_to_teacher: dict[str, float]
    lpips_to_teacher: dict[str, float]
    decode_ms: dict[str, dict[str, float]]


def judge(
    name: str,
    original: Pixels,
    variants: Mapping[str, Pixels],
    bytes_: ByteCounts,
    timings: Mapping[str, Timings],
) -> PictureReport:
    """Measures one picture. `variants` has "teacher", "generic", "dosed" and any others, all of one size."""
    teacher = variants["teacher"]
    return PictureReport(
        name=name,
        pixels=original.shape[0] * original.shape[1],
        bytes=bytes_,
        psnr={variant: psnr(original, shown) for variant, shown in variants.items()},
        lpips={variant: lpips(original, shown) for variant, shown in variants.items()},
        psnr_to_teacher={student: psnr(teacher, variants[student]) for student in STUDENTS},
        lpips_to_teacher={student: lpips(teacher, variants[student]) for student in STUDENTS},
        decode_ms={decoder: stages(times) for decoder, times in timings.items()},
    )


def stages(timings: Timings) -> dict[str, float]:
    """Milliseconds by stage, and their total."""
    times = {
        "entropy": timings.entropy_ms,
        "hyper": timings.hyper_ms,
        "synthesis": timings.synthesis_ms,
    }
    return {**times, "total": sum(times.values())}


def report(
    pictures: Sequence[PictureReport],
    bytes_: ByteCounts,
    params: Mapping[str, int],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The whole report, ready for JSON. `bytes_` are the sequence's; `bpp_total` counts all but the base."""
    pixels = sum(picture.pixels for picture in pictures)
    return {
        "pictures": len(pictures),
        "pixels": pixels,
        "bytes": bytes_.model_dump(),
        "bpp_total": 8 * bytes_.total / pixels,
        "psnr": _means([picture.psnr for picture in pictures]),
        "lpips": _means([picture.lpips for picture in pictures]),
        "psnr_to_teacher": _means([picture.psnr_to_teacher for picture in pictures]),
        "lpips_to_teacher": _means([picture.lpips_to_teacher for picture in pictures]),
        "params": dict(params),
        "decode_ms": {
            decoder: _medians([picture.decode_ms[decoder] for picture in pictures])
            for decoder in pictures[0].decode_ms
        },
        "seconds": dict(seconds),
        "per_picture": [_row(picture) for picture in pictures],
    }


def summary(found: Mapping[str, Any]) -> str:
    """The sums of a report, for people."""
    counts, times, near = found["bytes"], found["decode_ms"], found["lpips_to_teacher"]
    lines = [
        f"{found['pictures']} pictures at {found['bpp_total']:.4f} bpp with everything counted: "
        f"{counts['latents']} bytes of latents, {counts['dose']} of dose, {counts['headers']} of headers",
        "to the original    PSNR, dB     LPIPS",
        *(f"  {name:14}{value:11.2f}{found['lpips'][name]:10.4f}" for name, value in found["psnr"].items()),
        f"LPIPS to the teacher: generic {near['generic']:.4f}, dosed {near['dosed']:.4f}",
        f"ms to decode a picture: student {times['student']['total']:.1f}, "
        f"teacher {times['teacher']['total']:.1f}",
        "seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in found["seconds"].items()),
    ]
    return "\n".join(lines)


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(row[name] for row in rows) for name in rows[0]}


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(row[name] for row in rows) for name in rows[0]}


def _row(picture: PictureReport) -> dict[str, Any]:
    row = asdict(picture)
    row["bytes"] = picture.bytes.model_dump(exclude={"base"})
    row["bpp"] = 8 * picture.bytes.total / picture.pixels
    return row
