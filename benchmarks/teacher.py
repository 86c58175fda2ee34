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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.comparison import Measured, Quality, Rival, report, table
from microdose.engine import Graph, hyper_from
from microdose.errors import NotFound, NotReproducible
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.evaluate import dists_weights, program
from microdose_server.evaluate.codecs import Codec, Search, search, why_absent
from microdose_server.evaluate.curves import Curve, plot, read_curves
from microdose_server.evaluate.metrics import dists, lpips, lpips_moved, ms_ssim, psnr
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pictures
from microdose_server.evaluate.zoo import read_zoo
from microdose_server.training import lpips_weights
from microdose_server.training.data import Pixels
from microdose_server.training.options import count, device, positive
from microdose_server.training.peers import must_be_here

LEAST_SIDE = 161
"""Pixels: MS-SSIM halves a picture four times and still needs a window of 11."""
ZOO = (
    "its trained models are in no package, and nothing is fetched here: give --zoo the folder that has them, "
    "or draw their published curves by --curves"
)
Coder = Callable[[Pixels], Search]
"""Looks at a picture, to code it to as many bytes as are wanted."""


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
