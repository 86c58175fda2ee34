"""The teacher beside its rivals: means over pictures, what of them is quoted, curves, and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from microdose_server.evaluate.curves import Curve
from microdose_server.evaluate.machine import machine

NOT_COMPARABLE = (
    "The rivals run at their encoders' defaults (WebP at method 6), in 4:2:0 but for JPEG XL; slower "
    "settings gain a little. x265 is counted without a container, the files of the others whole.",
    "A rival gets no fewer bytes than the teacher: bytes_ratio says how many times as many. x265 moves in "
    "steps of 15 %, and JPEG's worst quality may be far above.",
    "Below its quality 19, JPEG XL chooses to code pictures at half their size, which costs it dearly here.",
    "The teacher is trained for LPIPS (AlexNet, v0.1), the rivals are tuned for other measures: LPIPS "
    "flatters the teacher, PSNR flatters them. Nobody here is trained for DISTS.",
    "A family of CompressAI's zoo has eight qualities at most: bytes_ratio tells how far the next one is; "
    "it is below 1 where even the finest takes fewer bytes. They are counted without a container.",
    "Published curves were measured by others, most of models trained for PSNR or MS-SSIM alone.",
    "Viewers see the student's picture and pay for a dose: this is the teacher alone.",
)


@dataclass(frozen=True)
class Quality:
    """What one picture, or the mean one, takes and is worth.

    `bytes_ratio`: bytes over those allowed. `dists`: None where its weights are absent.
    """

    bpp: float
    bytes_ratio: float
    psnr: float
    ms_ssim: float
    lpips: float
    lpips_moved: float
    dists: float | None


@dataclass(frozen=True)
class Rival:
    """A codec, or a family of the zoo, at a multiple of the teacher's bytes."""

    codec: str
    rate: float = 1.0


@dataclass(frozen=True)
class Measured:
    """One picture, or the mean one, by the teacher and by every rival."""

    teacher: Quality
    rivals: Mapping[Rival, Quality]


def mean(measured: Sequence[Measured]) -> Measured:
    """The mean picture."""
    rivals = {rival: _mean([each.rivals[rival] for each in measured]) for rival in measured[0].rivals}
    return Measured(_mean([each.teacher for each in measured]), rivals)


def _mean(qualities: Sequence[Quality]) -> Quality:
    columns = ([getattr(each, field.name) for each in qualities] for field in fields(Quality))
    means: list[Any] = [None if None in column else fmean(column) for column in columns]
    return Quality(*means)


def figures(average: Measured) -> dict[str, Any]:
    """What is quoted: the teacher's numbers, and the rivals' at its bytes."""
    numbers = asdict(average.teacher)
    del numbers["bytes_ratio"]
    equal = {rival.codec: quality for rival, quality in average.rivals.items() if rival.rate == 1.0}
    for name in ("bpp", "lpips", "lpips_moved", "psnr", "ms_ssim", "dists"):
        values = {codec: getattr(quality, name) for codec, quality in equal.items()}
        numbers[f"{name}_at_equal_bytes"] = values
    numbers["bytes_ratio"] = {codec: quality.bytes_ratio for codec, quality in equal.items()}
    return numbers


def curves(average: Measured, name: str, description: str) -> list[Curve]:
    """The teacher's point and the rivals' curves in CompressAI's terms; the teacher comes first."""
    points = {name: [average.teacher]}
    for rival, quality in average.rivals.items():
        points.setdefault(rival.codec, []).append(quality)
    columns = {"bpp": "bpp", "psnr-rgb": "psnr", "ms-ssim-rgb": "ms_ssim"}
    columns |= {name: name for name in ("lpips", "dists") if getattr(average.teacher, name) is not None}
    return [
        Curve(
            codec,
            description,
            {column: [getattr(each, field) for each in found] for column, field in columns.items()},
        )
        for codec, found in points.items()
    ]


def report(
    names: Sequence[str], measured: Sequence[Measured], absent: Mapping[str, str], teacher: str, folder: str
) -> dict[str, Any]:
    """Everything, ready for JSON. It is itself an object of CompressAI's schema: the teacher's."""
    average = mean(measured)
    own, *others = curves(average, f"microdose-{teacher}", f"mean over {len(names)} pictures of {folder}")
    return {
        **own.to_json(),
        "rivals": [curve.to_json() for curve in others],
        "figures": figures(average),
        "absent": absent,
        "not_comparable": NOT_COMPARABLE,
        "machine": machine(),
        "per_picture": [_row(name, each) for name, each in zip(names, measured, strict=True)],
    }


def _row(name: str, measured: Measured) -> dict[str, Any]:
    rivals = [asdict(rival) | asdict(quality) for rival, quality in measured.rivals.items()]
    return {"name": name, **asdict(measured.teacher), "rivals": rivals}


def table(found: Mapping[str, Any]) -> str:
    """The figures, for people."""
    numbers = found["figures"]
    heads = "      bpp    bytes   PSNR, dB   MS-SSIM    LPIPS   moved    DISTS"
    columns = ("bpp", "psnr", "ms_ssim", "lpips", "lpips_moved", "dists")
    rows = {"": heads, "teacher": _cells(1, *(numbers[name] for name in columns))}
    for codec, ratio in numbers["bytes_ratio"].items():
        rows[codec] = _cells(ratio, *(numbers[f"{name}_at_equal_bytes"][codec] for name in columns))
    rows |= {codec: f" absent: {reason}" for codec, reason in found["absent"].items()}
    longest = max(map(len, rows))
    lines = [f"{codec:{longest}}{told}" for codec, told in rows.items()]
    lines += [found["description"], *(f"* {line}" for line in found["not_comparable"])]
    return "\n".join(lines)


def _cells(ratio: float, bpp: float, *values: float | None) -> str:
    forms = zip(values, ("11.2f", "10.4f", "9.4f", "8.4f", "9.4f"), strict=True)
    told = [f"{'-':>9}" if value is None else f"{value:{form}}" for value, form in forms]
    return f"{bpp:9.4f}{ratio:8.2f}x{''.join(told)}"
