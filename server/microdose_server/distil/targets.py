"""The targets of a sequence, kept on disk: made once, read a tile at a time, whatever the number of pictures.

folder/00000.y_hat.npy    float32 [C, h, w]
       00000.x_hat.npy    uint8 [H, W, 3]
       00000.tower.npy    float16 [D, h, w]
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microdose_server.codec.encode import Encoded
from microdose_server.distil.tiles import Target


def keep_target(folder: Path, number: int, encoded: Encoded) -> Target:
    """Write picture `number` into `folder`, and give it back as maps of its files."""
    return Target(
        _kept(folder / f"{number:05}.y_hat.npy", encoded.y_hat),
        _kept(folder / f"{number:05}.x_hat.npy", encoded.x_hat),
        None if encoded.tower is None else _kept(folder / f"{number:05}.tower.npy", encoded.tower),
    )


def _kept(path: Path, array: NDArray[np.generic]) -> np.memmap:  # type: ignore[type-arg]
    """The array, from now on read from its file as it is needed."""
    np.save(path, array, allow_pickle=False)
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    return mapped
