"""What the programs of `benchmarks/` do alike: progress on stderr; one JSON object, or a table, on stdout."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias, TypeVar

from microdose.errors import MicrodoseError

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

    Exit code 0; 1 if what was found is not `good`, or with one line on stderr if there is nothing.
    """
    try:
        with reporter as progress:
            found = run(args, progress)
    except MicrodoseError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else table(found))
    keep(args, found)
    return 0 if good(found) else 1


def size(text: str) -> tuple[int, int]:
    """(width, height) of "640x360", for an option; raises ValueError for anything else."""
    width, height = text.split("x")
    return int(width), int(height)
