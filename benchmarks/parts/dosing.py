"""What benchmarks of doses let one choose: sequences, a student, and how far to go for a dose."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from microdose.errors import BadUpload
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.codec.folder import STANDARD
from microdose_server.codec.shipped import load_discriminator
from microdose_server.distil.overfit import OverfitRecipe
from microdose_server.distil.rate import DEFAULT_LMBDA
from microdose_server.training.options import count, positive, weight


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("sequences", nargs="+", type=Path, metavar="PATH", help="folders or clips")
    parser.add_argument("--profile", default=STANDARD, help="the student (default: standard)")
    parser.add_argument(
        "--steps", type=count, default=2000, metavar="N", help="of each dose at most (default: 2000)"
    )
    parser.add_argument(
        "--seconds", type=positive, default=180.0, metavar="S", help="for each dose at most (default: 180)"
    )
    parser.add_argument(
        "--lmbda",
        type=positive,
        default=DEFAULT_LMBDA,
        metavar="D",
        help=f"distortion that a bit per pixel may cost (default: {DEFAULT_LMBDA}); near 0, bytes are free",
    )
    parser.add_argument(
        "--beta",
        type=weight,
        default=0.0,
        metavar="B",
        help="weight of the teacher's discriminator, which one of stage 2 has (default: 0)",
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="another teacher than the shipped one")


def recipe_of(args: argparse.Namespace) -> OverfitRecipe:
    """How doses are trained. Raises NotFound for a beta where the teacher has no discriminator."""
    discriminator = load_discriminator(args.weights) if args.beta > 0.0 else None
    return OverfitRecipe(beta=args.beta, discriminator=discriminator)


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """The sequences under the names that results give them. Raises BadUpload where two would share one."""
    named: dict[str, Path] = {}
    for path in paths:
        if (other := named.setdefault(path.stem, path)) is not path:
            raise BadUpload(f"{other} and {path} would both be called {path.stem!r}: rename one of them")
    return named


def encoder_of(args: argparse.Namespace) -> Encoder:
    """The teacher and the student that are chosen. Raises what loading them does."""
    return load_encoder(folder=args.weights, student=args.profile)
