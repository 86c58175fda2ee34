import numpy as np
import pytest

from microdose_server.evaluate.plots import Cell, centre, contact_sheet
from microdose_server.training.data import Pixels


def grey(height: int, width: int, value: int) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_keep_their_pixels() -> None:
    cells = [Cell(grey(30, 40, 10), "left"), Cell(grey(20, 40, 90), "right")]
    sheet = np.asarray(contact_sheet(["a", "b"], [cells]))
    assert (sheet == 10).all(axis=2).sum() == 30 * 40
    assert (sheet == 90).all(axis=2).sum() == 20 * 40


@pytest.mark.parametrize("rows", [[], [[Cell(grey(8, 8, 0), "")]]])
def test_ragged_sheets_are_refused(rows: list[list[Cell]]) -> None:
    with pytest.raises(ValueError, match="2 cells"):
        contact_sheet(["a", "b"], rows)


def test_centre_cuts_evenly_and_never_pads() -> None:
    picture = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    assert (centre(picture, 10, 4) == picture[3:7, 5:15]).all()
    assert centre(picture, 100, 100).shape == picture.shape
