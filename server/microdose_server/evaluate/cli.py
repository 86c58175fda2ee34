"""`microdose-server bench`: a published sequence, exported as a .mds file, against its original pictures."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from microdose.errors import DigestMismatch, NotFound
from microdose.manifest import SegmentEntry
from microdose.mds import Mds
from microdose_server.codec.folder import weights_folder
from microdose_server.codec.graphs import generator_to_onnx
from microdose_server.codec.shipped import load_teacher, teacher_digest
from microdose_server.evaluate import program
from microdose_server.evaluate.compare import Compared, Comparison, base_of, comparison_sheet
from microdose_server.evaluate.pictures import read_pixels
from microdose_server.evaluate.report import report, summary
from microdose_server.training.data import Pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand."""
    parser.epilog = "example: microdose-server bench holiday.mds holiday/ -o report/"
    parser.add_argument("mds", type=Path, metavar="FILE.mds", help="what `microdose export` wrote")
    parser.add_argument("originals", type=Path, metavar="DIR", help="the folder that was pushed")
    parser.add_argument(
        "-o", "--output", type=program.folder, metavar="DIR", help="folder for report.json and comparison.png"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, write, print. Raises NotFound for a missing original, BadPicture for one that is refused, and
    DigestMismatch for a sequence of another teacher than the one that ships.
    """
    mds = Mds.open(args.mds)
    if base_of(mds).document.teacher != teacher_digest(weights_folder()):
        raise DigestMismatch(
            f"{args.mds} was made by another teacher than this version ships: publish the pictures again, or "
            "measure it with the version that published it"
        )
    originals = [read_original(args.originals, entry) for entry in mds.manifest.segments]
    comparison = Comparison(mds, shipped_teacher())
    found = write_report(args.output, comparison, list(comparison.pictures(originals)))
    print(json.dumps(found, indent=2) if args.json else summary(found))
    return 0


def shipped_teacher() -> bytes:
    """The generator of the teacher that comes with the server, as ONNX."""
    return generator_to_onnx(load_teacher("cpu").g_s)


def read_original(folder: Path, entry: SegmentEntry) -> Pixels:
    """The picture a segment was made from, found by its name and read as the server reads uploads."""
    path = folder / Path(entry.name or "").name
    if not path.is_file():
        raise NotFound(f"no original of picture {entry.n} at {path}: give the folder that was pushed")
    return read_pixels(path)


def write_report(
    output: Path | None,
    comparison: Comparison,
    compared: Sequence[Compared],
    seconds: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """The report of all pictures; with `output`, also as report.json and comparison.png in that folder."""
    found = report(
        [one.report for one in compared], comparison.mds.manifest.bytes, comparison.params(), seconds
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "report.json").write_text(json.dumps(found, indent=2) + "\n")
        comparison_sheet(compared).save(output / "comparison.png")
    return found
