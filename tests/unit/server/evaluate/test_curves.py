import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microdose.errors import BadUpload
from microdose_server.evaluate.curves import Curve, decibels, plot, read_curve, read_curves, series

CURVE = Curve("ours", "", {"bpp": [0.4, 0.2], "psnr-rgb": [31.0, 29.0], "ms-ssim-rgb": [0.99, 0.9]})


def write(folder: Path, name: str, document: object) -> Path:
    file = folder / name
    file.write_text(json.dumps(document))
    return file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_curve(write(tmp_path, "ours.json", CURVE.to_json())) == CURVE


def test_a_folder_gives_all_its_curves(tmp_path: Path) -> None:
    for name in ("b.json", "a.json"):
        write(tmp_path, name, CURVE.to_json())
    assert [curve.name for curve in read_curves([tmp_path, tmp_path / "b.json"])] == ["a", "b", "b"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match=r"missing\.json"):
        read_curves([tmp_path / "missing.json"])


def test_a_folder_without_curves_is_refused(tmp_path: Path) -> None:
    below = tmp_path / "kodak"
    below.mkdir()
    write(below, "a.json", CURVE.to_json())
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadUpload, match=rf"^{tmp_path} holds no .json file itself: give the folder"):
        read_curves([below, tmp_path])


@pytest.mark.parametrize(
    "document",
    [[], {}, {"results": {}}, {"results": {"bpp": ["x"]}}, {"results": {"bpp": [1], "psnr-rgb": []}}],
)
def test_another_schema_is_refused(tmp_path: Path, document: object) -> None:
    with pytest.raises(BadUpload, match=r"bad\.json"):
        read_curve(write(tmp_path, "bad.json", document))


def test_points_by_growing_rate() -> None:
    assert series(CURVE, "psnr-rgb") == [(0.2, 29.0), (0.4, 31.0)]
    assert np.allclose(series(CURVE, "ms-ssim-rgb"), [(0.2, 10), (0.4, 20)])
    assert series(CURVE, "lpips") == []


def test_ms_ssim_given_in_decibels_is_taken_as_it_is() -> None:
    assert series(Curve("", "", {"bpp": [1.0], "ms-ssim-db-rgb": [17.0]}), "ms-ssim-rgb") == [(1.0, 17.0)]


def test_equal_pictures_have_finite_decibels() -> None:
    assert decibels(1.0) == pytest.approx(100)


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    plot([CURVE], [Curve("theirs", "", {"bpp": [0.3, 9.0], "psnr-rgb": [30.0, 50.0]})], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.width > image.height > 500
