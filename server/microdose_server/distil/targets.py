"""The targets of a sequence, kept on disk: made once, read a tile at a time, whatever the number of pictures.

folder/00000.y_hat.npy     float32 [C, h, w]
       00000.pixels.npy    uint8 [H, W, 3]
       00000.tower.npy     float16 [D, h, w], of a teacher's picture
       00000.refined.npy   float32 [C, h, w], what is coded in y_hat's place, if that was refined
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microdose_server.distil.tiles import Target
from microdose_server.room import room


def keep_target(folder: Path, number: int, target: Target, reserve: int) -> Target:
    """Write the target of picture `number` into `folder`, and give it back as maps of its files.

    Raises NoSpace where that would not leave `reserve` bytes of the disk free.
    """
    tower = target.tower
    coming = target.y_hat.nbytes + target.pixels.nbytes + (0 if tower is None else tower.nbytes)
    with room(folder, coming, reserve):
        return Target(
            _kept(folder / f"{number:05}.y_hat.npy", target.y_hat),
            _kept(folder / f"{number:05}.pixels.npy", target.pixels),
            None if tower is None else _kept(folder / f"{number:05}.tower.npy", tower),
        )


def keep_refined(
    folder: Path, number: int, target: Target, y_hat: NDArray[np.float32], reserve: int
) -> Target:
    """The target of picture `number` with other latents, which are kept as well; raises as `keep_target`."""
    with room(folder, y_hat.nbytes, reserve):
        return replace(target, y_hat=_kept(folder / f"{number:05}.refined.npy", y_hat))


def _kept(path: Path, array: NDArray[np.generic]) -> np.memmap:  # type: ignore[type-arg]
    """The array, from now on read from its file as it is needed."""
    whole = io.BytesIO()  # numpy's own way to a file does not tell a full disk from other errors
    np.save(whole, array, allow_pickle=False)
    path.write_bytes(whole.getbuffer())
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    return mapped
