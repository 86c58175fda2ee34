from argparse import ArgumentParser
from collections.abc import Callable

import pytest

from microdose_server.training.options import count, crop_side, device, none_or_more, positive, weight

REFUSED: dict[Callable[[str], float | str], tuple[str, ...]] = {
    count: ("0", "-1", "1.5", "many"),
    none_or_more: ("-1", "0.5"),
    positive: ("0", "-1", "nan", "inf", "fast"),
    crop_side: ("48", "100", "large"),
    device: ("tpu", "meta", "cuda:", "cuda:x", "cuda:-1", "cpu:0"),
    weight: ("-0.1", "nan", "inf"),
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in REFUSED.items() for text in texts]
)
def test_what_no_run_can_use_is_refused(
    kind: Callable[[str], float | str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = ArgumentParser()
    parser.add_argument("--number", type=kind)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--number={text}"])
    assert "argument --number: " in capsys.readouterr().err


def test_all_else_is_a_number() -> None:
    assert (count("1"), none_or_more("0"), crop_side("64")) == (1, 0, 64)
    assert (positive("1e-9"), weight("0")) == (1e-9, 0.0)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_has_a_name(name: str) -> None:
    assert device(name) == name
