#!/usr/bin/env python
"""The teacher against what people would pick instead: how good the same bytes look, picture by picture.

    picture -> teacher -> segment, every byte of it counted -> decoded -> PSNR, MS-SSIM, LPIPS, DISTS
            -> JPEG, WebP, AVIF, JPEG XL, x265 intra, each searched to no fewer bytes -> the same
            -> models of CompressAI's zoo (--zoo), of each family the quality that takes no fewer -> the same

Numbers are means over the pictures. What is lacking here, a codec or the weights of DISTS, is named under
`absent`. Every segment is decoded from its bytes: they must give the very latents the teacher paints from.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from microdose.engine import Graph, hyper_from
from microdose.errors import NotFound, NotReproducible
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.evaluate import dists_weights, program
from microdose_server.evaluate.codecs import Codec, Search, search, why_absent
from microdose_server.evaluate.curves import Curve, plot, read_curves
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.metrics import dists, lpips, lpips_moved, ms_ssim, psnr
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pictures
from microdose_server.evaluate.zoo import read_zoo
from microdose_server.training import lpips_weights
from microdose_server.training.data import Pixels
from microdose_server.training.options import count, device, positive
from microdose_server.training.peers import must_be_here

LEAST_SIDE = 161
"""Pixels: MS-SSIM halves a picture four times and still needs a window of 11."""
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
ZOO = (
    "its trained models are in no package, and nothing is fetched here: give --zoo the folder that has them, "
    "or draw their published curves by --curves"
)
Coder = Callable[[Pixels], Search]
"""Looks at a picture, to code it to as many bytes as are wanted."""


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


def judge(original: Pixels, shown: Pixels, size: int, allowed: int, *, with_dists: bool = True) -> Quality:
    """The quality of `shown`, coded in `size` bytes where `allowed` were to be had."""
    height, width, _ = original.shape
    return Quality(
        bpp=8 * size / (height * width),
        bytes_ratio=size / allowed,
        psnr=psnr(original, shown),
        ms_ssim=ms_ssim(original, shown),
        lpips=lpips(original, shown),
        lpips_moved=lpips_moved(original, shown),
        dists=dists(original, shown) if with_dists else None,
    )


def code(encoder: Encoder, pixels: Pixels) -> tuple[bytes, Pixels]:
    """The segment and the teacher's picture. Raises NotReproducible if the bytes hold other latents."""
    encoded = encoder.encode(pixels)
    hyper = hyper_from(Graph(encoder.base.hyper))
    y_hat = decode_picture(parse_segment(encoded.segment), encoder.base, hyper)
    if not np.array_equal(y_hat, encoded.y_hat):
        raise NotReproducible("a segment does not decode to the latents that it was made from")
    return encoded.segment, encoded.x_hat


def measure(
    encoder: Encoder, pixels: Pixels, coders: Mapping[str, Coder], rates: Sequence[float], *, with_dists: bool
) -> Measured:
    """One picture, of at least `LEAST_SIDE`, in every way."""
    segment, painted = code(encoder, pixels)
    found = {}
    for name, coder in coders.items():
        coded_to = coder(pixels)
        for rate in rates:
            allowed = math.ceil(rate * len(segment))
            coded = coded_to(allowed)
            quality = judge(pixels, coded.pixels, len(coded.data), allowed, with_dists=with_dists)
            found[Rival(name, rate)] = quality
    return Measured(judge(pixels, painted, len(segment), len(segment), with_dists=with_dists), found)


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


def absent(zoo: Path | None) -> dict[str, str]:
    """Who and what is not measured here, and why. Raises DigestMismatch for weights that are damaged."""
    found = {codec.value: why for codec in Codec if (why := why_absent(codec))}
    if why := why_no_dists():
        found["dists"] = why
    return found if zoo else {**found, "compressai zoo": ZOO}


def why_no_dists() -> str | None:
    """Where the weights of DISTS are looked for, and what brings them there; None if they are there.

    Raises DigestMismatch if they are damaged.
    """
    try:
        dists_weights.WEIGHTS.load(dists_weights.WEIGHTS.find())
    except NotFound as error:
        return str(error)
    return None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Measure the teacher on a folder of pictures, next to other codecs at the same bytes.",
        "benchmarks/teacher.py kodak/ --json --plot kodak.png --rates 0.5 1 2 > kodak.json",
    )
    found.add_argument("folder", type=Path, metavar="DIR", help="pictures, each side above 160 pixels")
    found.add_argument("--limit", type=count, metavar="N", help="only the first N pictures by name")
    found.add_argument("--weights", type=Path, metavar="DIR", help="another teacher than the shipped one")
    found.add_argument("--device", type=device, default="cpu", help="where the teacher runs (default: cpu)")
    zoo_help = (
        "checkpoints of CompressAI's pretrained models, named as its zoo names them; mbt2018 and cheng2020, "
        "which code place by place, are slow"
    )
    found.add_argument("--zoo", type=Path, metavar="DIR", help=zoo_help)
    found.add_argument("--plot", type=program.png, metavar="PNG", help="write rate-distortion curves")
    curves_help = "published results in CompressAI's JSON to draw beside ours"
    found.add_argument("--curves", type=Path, nargs="+", default=[], metavar="PATH", help=curves_help)
    rates_help = "also give the rivals these multiples of the teacher's bytes (for the plot)"
    found.add_argument("--rates", type=positive, nargs="+", default=[], metavar="X", help=rates_help)
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Measure the folder, once all that it needs is known to be there."""
    must_be_here(args.device)
    files = picture_files(args.folder, args.limit)
    check_pictures(files, LEAST_SIDE)
    read_curves(args.curves)
    lpips_weights.WEIGHTS.load(lpips_weights.WEIGHTS.find())
    missing = absent(args.zoo)
    encoder = load_encoder(args.device, args.weights)
    families = read_zoo(args.zoo) if args.zoo else []
    coders: dict[str, Coder] = {
        codec.value: partial(search, codec=codec) for codec in Codec if codec not in missing
    }
    coders |= {family.name: family.search for family in families}
    rates = sorted({1.0, *args.rates})
    names: list[str] = []
    measured: list[Measured] = []
    for name, pixels in read_pictures(files):
        progress(Step("measuring", len(names), len(files), name))
        names.append(name)
        measured.append(measure(encoder, pixels, coders, rates, with_dists="dists" not in missing))
    progress(Step("measuring", len(files), len(files)))
    return report(names, measured, missing, encoder.base.document.name, args.folder.resolve().name)


def keep(args: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Draw the plot, if one is wanted."""
    if args.plot:
        documents = found, *found["rivals"]
        drawn = [Curve(each["name"], each["description"], each["results"]) for each in documents]
        plot(drawn, read_curves(args.curves), args.plot)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("teacher.py", parser().parse_args(argv), run, reporter(), table, keep=keep)


if __name__ == "__main__":
    sys.exit(main())
