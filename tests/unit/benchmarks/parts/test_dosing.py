import argparse
from pathlib import Path

from benchmarks.parts.dosing import add_options, encoder_of
from microdose_server.codec.folder import STANDARD, load_base


def test_what_is_chosen_is_loaded(weights: Path) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    args = parser.parse_args(["trees/", "street.mp4", "--weights", str(weights)])
    assert args.sequences == [Path("trees"), Path("street.mp4")]
    assert encoder_of(args).base.digest == load_base(weights, STANDARD).digest
