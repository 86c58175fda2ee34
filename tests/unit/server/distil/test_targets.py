from pathlib import Path

import numpy as np
import pytest

from microdose.errors import NoSpace
from microdose_server.codec.encode import Encoder
from microdose_server.distil.targets import keep_refined, keep_target
from microdose_server.distil.tiles import Target
from microdose_server.training.data import Pixels


def test_targets_are_read_from_their_files(
    tmp_path: Path, tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    encoded = tiny_encoder.encode(photographs[0][:70, :50])
    target = keep_target(tmp_path, 7, Target(encoded.y_hat, encoded.x_hat, encoded.tower), reserve=0)
    assert encoded.tower is not None
    assert target.tower is not None
    for kept, given in (
        (target.y_hat, encoded.y_hat),
        (target.pixels, encoded.x_hat),
        (target.tower, encoded.tower),
    ):
        assert isinstance(kept, np.memmap)
        assert np.array_equal(kept, given)
    assert target.tower.shape == (tiny_encoder.teacher.preset.width, 5, 4)
    assert len(list(tmp_path.glob("00007.*.npy"))) == 3
    assert keep_target(tmp_path, 8, Target(encoded.y_hat, encoded.x_hat), reserve=0).tower is None
    assert len(list(tmp_path.glob("00008.*.npy"))) == 2


def test_refined_latents_take_the_place_of_the_first(tmp_path: Path) -> None:
    target = keep_target(tmp_path, 7, SMALL, reserve=0)
    refined = keep_refined(tmp_path, 7, target, np.ones((4, 1, 1), np.float32), reserve=0)
    assert isinstance(refined.y_hat, np.memmap)
    assert (refined.y_hat == 1.0).all()
    assert refined.pixels is target.pixels
    assert not target.y_hat.any()
    with pytest.raises(NoSpace):
        keep_refined(tmp_path, 7, target, target.y_hat, reserve=2**62)


SMALL = Target(np.zeros((4, 1, 1), np.float32), np.zeros((16, 16, 3), np.uint8))


def test_nothing_is_written_of_what_would_not_leave_the_reserve(tmp_path: Path) -> None:
    with pytest.raises(NoSpace):
        keep_target(tmp_path, 0, SMALL, reserve=2**60)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "00000.pixels.npy").symlink_to("/dev/full")
    with pytest.raises(NoSpace):
        keep_target(tmp_path, 0, SMALL, reserve=0)
