"""Five pairs of TID2013's pictures, and what the authors' own programs say of them.

Pictures and distances were published for such checks as these, with the package pyiqa (its repository,
ResultsCalibra). The pictures come out of the package's wheel, which is fetched once, hash checked, and never
installed: nothing in it is run, and it is no part of what we ship (its licence, PolyForm Noncommercial, and
that of TID2013 do not allow it everywhere).
"""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from microdose.cache_dir import cache_dir
from microdose_server.training.packages import download

PYIQA = "pyiqa==0.1.16 --hash=sha256:42bbcf1c274a8b53f040a3ec5ec304a15b7725afb5a85b81050e9cc7e6d09ed4"
FILE = "pyiqa-0.1.16-py3-none-any.whl"
NAMES = ("I03", "I04", "I06", "I08", "I19")
LPIPS = (0.7237, 0.2572, 0.0508, 0.0521, 0.4253)
DISTS = (0.4742, 0.1424, 0.0682, 0.0287, 0.3123)


def pairs() -> Iterator[tuple[Tensor, Tensor]]:
    """Reference and distorted picture, [1, 3, 384, 512] in 0..1, in the order of the distances."""
    wheel = cache_dir() / FILE
    if not wheel.is_file():
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
            download(PYIQA, Path(folder)).replace(wheel)
    with ZipFile(wheel) as files:
        for name in NAMES:
            yield _picture(files, f"ref_dir/{name}.bmp"), _picture(files, f"dist_dir/{name}.bmp")


def _picture(files: ZipFile, name: str) -> Tensor:
    bmp = io.BytesIO(files.read(f"ResultsCalibra/{name}"))
    pixels = np.array(Image.open(bmp).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
