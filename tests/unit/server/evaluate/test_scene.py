from pathlib import Path

import numpy as np
import pytest

from microdose.decoder import Decoder
from microdose.errors import BadPicture
from microdose_server.codec.encode import Encoder
from microdose_server.evaluate.scene import pink, scene
from tests.photos import encode, photo


def test_noise_has_more_of_the_low_frequencies() -> None:
    grey = pink(64, 48)[..., 0].astype(float)
    assert grey.std() > 30
    assert np.abs(np.diff(grey, axis=1)).mean() < grey.std()


def test_a_file_is_brought_to_the_size_and_coded(tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(photo(0, 200, 168)))
    shown = scene(tiny_encoder, tmp_path / "a.png", 80, 48)
    assert (shown.size, shown.y_hat.shape) == ("80x48", (16, 3, 5))
    assert Decoder(tiny_encoder.base, threads=1).decode(shown.segment).pixels.shape == (48, 80, 3)
    assert scene(tiny_encoder, None, 80, 48).segment != shown.segment


def test_a_file_that_is_not_there_is_named(tiny_encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match=r"a\.png cannot be read: No such file"):
        scene(tiny_encoder, tmp_path / "a.png", 80, 48)
