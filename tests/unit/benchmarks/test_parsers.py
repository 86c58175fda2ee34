"""What the command lines of all benchmarks have in common."""

from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = sorted(path.stem for path in (Path(__file__).parents[3] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_number_is_taken_as_it_comes(name: str) -> None:
    parser = import_module(f"benchmarks.{name}").parser()
    assert not [each.dest for each in parser._actions if each.type in (int, float) and not each.choices]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("teacher", "kodak --limit 0"),
        ("teacher", "kodak --limit -1"),
        ("teacher", "kodak --rates 1 nan"),
        ("teacher", "kodak --rates 0"),
        ("encode", "kodak --rounds 0"),
        ("exactness", "kodak --count 0"),
        ("encode", "kodak --device abacus"),
        ("decode", "--threads 0"),
        ("decode", "--sizes 8x8"),
        ("dose", "clip.mp4 --lmbda 0"),
        ("dose", "clip.mp4 --dists -1"),
        ("choices", "clip.mp4 --lengths 0"),
        ("train_step", "--steps 0"),
        ("train_step", "--batch 0"),
        ("train_step", "--crop 100"),
        ("train_step", "--threads -1"),
        ("train_step", "--memory 0"),
        ("fanout", "--viewers 0"),
        ("relay", "--pictures 1"),
        ("upload", "--count 1"),
        ("faults", "--lease-s inf"),
        ("hostile", "--batch 0"),
    ],
)
def test_what_no_run_can_use_is_refused(name: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_module(f"benchmarks.{name}").parser().parse_args(given.split())
    assert "error: argument --" in capsys.readouterr().err
