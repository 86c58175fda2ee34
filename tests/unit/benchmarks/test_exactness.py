import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.exactness import (
    CAPS,
    Condition,
    Golden,
    Tally,
    compare,
    conditions,
    decode_apart,
    golden,
    load,
    main,
    parser,
    report,
    save,
    table,
)
from microdose.errors import MicrodoseError
from microdose.latents import Floats
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.evaluate.engines import ENGINES, Networks
from microdose_server.evaluate.loopback import Published, published
from tests.photos import photo


@pytest.fixture(scope="module")
def encoder(weights: Path) -> Encoder:
    return load_encoder(folder=weights)


@pytest.fixture(scope="module")
def expected(encoder: Encoder) -> Golden:
    return golden(encoder, photo(0, 100, 70))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_agrees(engine: str, encoder: Encoder, expected: Golden) -> None:
    tally = compare(encoder.base, ENGINES[engine](encoder.base, 1), expected)
    assert tally.good
    assert tally.symbols == expected.y_hat.size > 0
    assert tally.pixel_values == 100 * 70 * 3


def test_other_symbols_and_pixels_are_counted(encoder: Encoder, expected: Golden) -> None:
    y_hat, pixels = expected.y_hat.copy(), expected.pixels.copy()
    y_hat[0, 0, :2] += 1
    pixels[0, 0] ^= 64
    tally = compare(
        encoder.base, ENGINES["onnxruntime"](encoder.base, 1), replace(expected, y_hat=y_hat, pixels=pixels)
    )
    assert (tally.differing, tally.index_mismatches) == (2, 0)
    assert (tally.pixel_values_differing, tally.max_pixel_difference) == (3, 64)
    assert not tally.good


def test_other_table_numbers_are_counted(encoder: Encoder, expected: Golden) -> None:
    exact = ENGINES["onnxruntime"](encoder.base, 1)

    def hyper(z: NDArray[np.int32]) -> tuple[Floats, Floats]:
        scale, mean = exact.hyper(z)
        return scale + 40, mean

    tally = compare(encoder.base, Networks(hyper, exact.paint), expected)
    assert tally.index_mismatches > 0
    assert tally.differing > 0


def test_a_coded_picture_survives_the_disk(expected: Golden, tmp_path: Path) -> None:
    save(expected, tmp_path / "0.npz")
    found = load(tmp_path / "0.npz")
    assert found.segment == expected.segment
    for name in ("index", "y_hat", "pixels"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_tallies_add_up_but_for_the_maximum() -> None:
    assert Tally(5, 1, 0, 9, 2, 3) + Tally(5, 0, 1, 9, 0, 1) == Tally(10, 1, 1, 18, 2, 3)


def test_torch_is_capped_and_onnxruntime_is_not() -> None:
    found = conditions()
    assert len(set(map(str, found))) == len(found) == 2 * 2 + 2 * 2 * len(CAPS)
    assert not any(each.environment for each in found if each.engine.startswith("onnxruntime"))


@pytest.fixture(scope="module")
def here(encoder: Encoder, expected: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    with published(encoder.base, [expected.segment], tmp_path_factory.mktemp("server")) as here:
        yield here


def test_a_cap_holds_in_a_process_of_its_own_over_both_transports(
    expected: Golden, here: Published, tmp_path: Path
) -> None:
    save(expected, tmp_path / "0.npz")
    rows = decode_apart(tmp_path, here, Condition("torch-float32", 2, CAPS[2]))
    assert [row["transport"] for row in rows] == ["http", "redis"]
    for row in rows:
        assert row["aten"] == "DEFAULT"
        assert row["symbols"] == expected.y_hat.size
        assert row["differing"] == row["index_mismatches"] == 0
        assert row["max_pixel_difference"] <= 1


def test_a_failure_is_told(here: Published, tmp_path: Path) -> None:
    (tmp_path / "0.npz").write_bytes(b"")
    with pytest.raises(MicrodoseError, match="onnxruntime"):
        decode_apart(tmp_path, here, Condition("onnxruntime", 1))


def test_the_report_sums_and_the_table_lists() -> None:
    rows = [
        asdict(Condition("onnxruntime", n)) | {"transport": "http"} | asdict(Tally(7, 0, 0, 30, 1, 1))
        for n in (1, 2)
    ]
    found = report(rows, pictures=3)
    assert found["symbols"] == found["figures"]["symbols"] == 14
    assert found["max_pixel_difference"] == 1
    assert len(table(json.loads(json.dumps(found))).splitlines()) == 4


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "holds no picture" in capsys.readouterr().err


def test_help_has_an_example() -> None:
    assert "example:" in parser().format_help()
