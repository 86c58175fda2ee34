"""What the programs of `benchmarks/` do alike: progress on stderr; one JSON object, or a table, on stdout."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from microdose.errors import BadPicture, BadUpload, MicrodoseError
from microdose_server.intake.picture import DEFAULT_LIMITS, check_size
from microdose_server.training.options import count
from microdose_server.writable import writable

Found: TypeAlias = dict[str, Any]
Report = TypeVar("Report")


def parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A command line with `--json`."""
    made = argparse.ArgumentParser(description=purpose, epilog=f"example: {example}")
    made.add_argument("--json", action="store_true", help="print everything as JSON")
    return made


def perform(
    name: str,
    args: argparse.Namespace,
    run: Callable[[argparse.Namespace, Report], Found],
    reporter: AbstractContextManager[Report],
    table: Callable[[Found], str],
    *,
    keep: Callable[[argparse.Namespace, Found], None] = lambda args, found: None,
    good: Callable[[Found], bool] = lambda found: True,
) -> int:
    """Run with what `reporter` gives (the client's, which no module of the server imports), print what was
    found, then `keep` it in files.

    Exit code 0; 1 if what was found is not `good`, or with one line on stderr if nothing was, or it cannot be
    kept.
    """
    try:
        with reporter as progress:
            found = run(args, progress)
    except MicrodoseError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else table(found), flush=True)
    try:
        keep(args, found)
    except (MicrodoseError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0 if good(found) else 1


def size(text: str) -> tuple[int, int]:
    """(width, height) of "640x360", for an option; refuses what is no size, or none that can be coded."""
    width, height = (int(side) for side in text.split("x"))
    try:
        check_size(width, height, DEFAULT_LIMITS)
    except BadPicture as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return width, height


def several(text: str) -> int:
    """An integer of at least 2, for an option."""
    number = count(text)
    if number < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return number


def folder(text: str) -> Path:
    """A folder that is `writable`, for an option."""
    try:
        return writable(Path(text))
    except BadUpload as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def png(text: str) -> Path:
    """A PNG file to write, for an option; its folder is made now."""
    path = Path(text)
    if path.suffix != ".png" or path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is not the name of a .png file")
    return folder(str(path.parent)) / path.name
