import json
from random import Random

import pytest

from benchmarks.hostile import FRAMED, hostile, main, readers
from microdose.errors import MicrodoseError
from microdose.wire import read_blob


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "300", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["inputs"], found["crashes"], found["hangs"]) == (300, 0, 0)
    assert 0 < found["peak_mb"] <= 512


def test_an_input_is_always_the_same_and_some_pass_the_crc() -> None:
    for kind in FRAMED:
        _, valid = readers()[kind]
        whole = 0
        for n in range(40):
            data = hostile(kind, valid, Random(n))
            assert data == hostile(kind, valid, Random(n))
            try:
                read_blob(data)
                whole += 1
            except MicrodoseError:
                pass
        assert whole >= 5
