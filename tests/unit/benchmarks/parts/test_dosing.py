import argparse
from pathlib import Path

import pytest

from benchmarks.parts.dosing import add_options, by_name, encoder_of
from microdose.errors import BadUpload
from microdose_server.codec.folder import STANDARD, load_base


def test_what_is_chosen_is_loaded(weights: Path) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    args = parser.parse_args(["trees/", "street.mp4", "--weights", str(weights)])
    assert args.sequences == [Path("trees"), Path("street.mp4")]
    assert encoder_of(args).base.digest == load_base(weights, STANDARD).digest


def test_no_two_sequences_have_one_name() -> None:
    paths = [Path("trees/a.mp4"), Path("b")]
    assert by_name(paths) == {"a": paths[0], "b": paths[1]}
    with pytest.raises(BadUpload, match=r"trees/a\.mp4 and birds/a would both be called 'a'"):
        by_name([*paths, Path("birds/a")])
