"""The `microdose` command: arguments in, exit code out (0 done, 1 failed, 2 usage)."""

import argparse
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from microdose.errors import MicrodoseError
from microdose.resources import DoseAim, DoseChoice, Priority
from microdose_client import commands
from microdose_client.aio import DEFAULT_SERVER
from microdose_client.frames import Form
from microdose_client.printable import printable
from microdose_client.progress import reporter

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

EXAMPLE = """example:
  microdose push holiday/ --name Holiday --wait
  microdose pull 01jd3q8v6m4x2z7k9w5t0r1yhc -o decoded/
  microdose watch 01jd3q8v6m4x2z7k9w5t0r1yhc
"""
LIVE = """  microdose push --live camera/
  ffmpeg -i rtsp://camera -vf scale=out_color_matrix=bt601 -f yuv4mpegpipe - | microdose push --live -

With --live, PATH is one folder, which is watched for new pictures in the order of their names; one clip,
which ffmpeg decodes; or -, y4m on stdin, of 8 bits and taken as BT.601. Viewers see each picture seconds
later: stderr names the sequence first of all, --json or not. The end of the input, or Ctrl-C, ends the
sequence. After a crash, --resume goes on with it.
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="microdose",
        description="Push pictures to a Microdose server, pull them back decoded.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _add_push,
        _add_pull,
        _add_watch,
        _add_info,
        _add_export,
        _add_decode,
        _add_jobs,
        _add_cancel,
    ):
        add(verbs)
    return parser


class _Printable(logging.Formatter):
    """Lines of the log, which quote what servers say."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; prints its result to stdout, progress and errors to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("microdose: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help (0) or what is wrong (2)
        return int(stop.code or 0)
    run: commands.Command = args.run
    try:
        names = args.run is commands.run_push  # an id that viewers and --resume need before there is a result
        with reporter(quiet=args.json and not names) as report:
            outcome = run(args, report)
    except MicrodoseError as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        print(printable(f"microdose: {' '.join(str(error).split())}{notes}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("microdose: interrupted", file=sys.stderr)
        return 1
    stream = sys.stderr if getattr(args, "pipe", None) else sys.stdout  # which has carried frames
    if args.json:
        print(TypeAdapter(object).dump_json(outcome.value, indent=2).decode(), file=stream)
    else:
        print(printable(outcome.text), file=stream)
    return 0


def _add_push(verbs: "Verbs") -> None:
    verb = _verb(
        verbs, "push", commands.run_push, "send pictures and publish them", "push a.png b.png --wait"
    )
    verb.epilog = f"{verb.epilog}\n{LIVE}"
    verb.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="pictures, folders, a clip or a zip"
    )
    verb.add_argument("--live", action="store_true", help="publish pictures as they come: see below")
    verb.add_argument("--name", help="a name to show for the sequence")
    verb.add_argument(
        "--dose",
        type=_one_of(DoseChoice),
        choices=list(DoseChoice),
        default=DoseChoice.AUTO,
        help="a rung of the ladder, or auto: the one that pays (default: auto)",
    )
    verb.add_argument(
        "--aim",
        type=_one_of(DoseAim),
        choices=list(DoseAim),
        default=DoseAim.ORIGINALS,
        help="what doses bring the student towards: originals, or teacher, its pictures (default: originals)",
    )
    verb.add_argument(
        "--profile", default="standard", help="the student: live, standard or fine (default: %(default)s)"
    )
    verb.add_argument("--lmbda", type=_positive, metavar="X", help="weight of bits against distortion")
    verb.add_argument("--dose-bytes", type=int, metavar="N", help="the most bytes of doses to send")
    verb.add_argument("--dose-seconds", type=_positive, metavar="S", help="the most seconds to distil them")
    verb.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="move the latents of each picture in N steps (12, say) for what viewers will see of them",
    )
    verb.add_argument(
        "--priority",
        type=_one_of(Priority),
        choices=list(Priority),
        default=Priority.NORMAL,
        help="of the job (default: normal)",
    )
    verb.add_argument(
        "--resume",
        metavar="SEQ",
        help="go on with an interrupted push into this sequence: stderr has named it, --json or not",
    )
    verb.add_argument("--wait", action="store_true", help="stay until the sequence is published")
    _add_connection(verb, redis=False)


def _add_pull(verbs: "Verbs") -> None:
    verb = _verb(verbs, "pull", commands.run_pull, "decode a sequence into PNG files", "pull SEQ -o decoded/")
    _add_sequence(verb)
    verb.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    verb.add_argument("--follow", action="store_true", help="stay for new pictures until the sequence ends")
    _add_connection(verb)


def _add_watch(verbs: "Verbs") -> None:
    verb = _verb(
        verbs, "watch", commands.run_watch, "decode a sequence as it comes", "watch SEQ --pipe y4m | ffplay -"
    )
    _add_sequence(verb)
    verb.add_argument(
        "--start", type=int, metavar="N", help="first picture; -1: the newest (default: it, or 0 once ended)"
    )
    verb.add_argument("--pictures", type=_count, metavar="N", help="stop after so many")
    verb.add_argument(
        "--pipe", type=_one_of(Form), choices=list(Form), help="write frames to stdout: y4m, or rgb24"
    )
    verb.add_argument(
        "--fps", type=_count, default=25, metavar="N", help="what y4m says (default: %(default)s)"
    )
    _add_connection(verb)


def _add_info(verbs: "Verbs") -> None:
    verb = _verb(verbs, "info", commands.run_info, "describe a sequence or file", "info holiday.mds --json")
    verb.add_argument("subject", metavar="SEQ|FILE|URL", help="a sequence, or an .mds file here or there")
    _add_connection(verb)


def _add_export(verbs: "Verbs") -> None:
    verb = _verb(
        verbs, "export", commands.run_export, "make a sequence one file", "export SEQ -o holiday.mds"
    )
    _add_sequence(verb)
    verb.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.mds", help="file to write")
    _add_connection(verb)


def _add_decode(verbs: "Verbs") -> None:
    verb = _verb(verbs, "decode", commands.run_decode, "decode an .mds file", "decode holiday.mds -o out/")
    verb.add_argument("file", metavar="FILE.mds|URL", help="what `microdose export` wrote")
    verb.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to write to")


def _add_jobs(verbs: "Verbs") -> None:
    verb = _verb(verbs, "jobs", commands.run_jobs, "list the newest jobs", "jobs --limit 5")
    verb.add_argument("--limit", type=_count, default=20, metavar="N", help="how many (default: %(default)s)")
    _add_connection(verb, redis=False)


def _add_cancel(verbs: "Verbs") -> None:
    verb = _verb(verbs, "cancel", commands.run_cancel, "stop a job", "cancel 01jd3q8v6m4x2z7k9w5t0r1yhc")
    verb.add_argument("job", metavar="JOB", help="its id, as `microdose jobs` lists it")
    _add_connection(verb, redis=False)


def _verb(
    verbs: "Verbs", name: str, run: commands.Command, help: str, example: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n  microdose {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    verb.set_defaults(run=run)
    return verb


def _add_sequence(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("sequence", metavar="SEQ", help="its id, as `microdose push` prints it")


def _add_connection(verb: argparse.ArgumentParser, redis: bool = True) -> None:
    """Where to connect; without --server and --redis (where it makes sense), to the server's usual place."""
    env = os.environ.get
    verb.add_argument(
        "--server",
        metavar="URL",
        default=env("MICRODOSE_SERVER"),
        help=f"of the API, or a relay; or $MICRODOSE_SERVER (default: {DEFAULT_SERVER})",
    )
    verb.add_argument(
        "--key", default=env("MICRODOSE_KEY"), help="API key; better in $MICRODOSE_KEY, where nobody sees it"
    )
    if redis:
        verb.add_argument(
            "--redis",
            metavar="URL",
            default=env("MICRODOSE_REDIS"),
            help="read from this Redis; or $MICRODOSE_REDIS",
        )
    else:
        verb.set_defaults(redis=None)


def _one_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    """What parses a name of `kind`, and tells the names where it is another."""

    def parse(text: str) -> StrEnum:
        if text not in list(kind):
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(kind)}")
        return kind(text)

    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value
