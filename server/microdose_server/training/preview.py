"""How a teacher in training does on pictures that it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from microdose_server.training.psnr import psnr_of


class HeldOut(NamedTuple):
    """Means over the held-out pictures; `bpp` is estimated from the likelihoods of the rounded latents."""

    bpp: float
    psnr: float
    lpips: float


def centre(photo: Pixels, side: int) -> Tensor:
    """The middle of a photograph as [1, 3, side', side'] in 0..1, side' <= side and a multiple of 16."""
    side = min(side, *photo.shape[:2]) // 16 * 16
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    piece = np.ascontiguousarray(photo[top : top + side, left : left + side])
    return torch.from_numpy(piece).permute(2, 0, 1)[None].float() / 255.0


@torch.no_grad()
def evaluate_held_out(
    teacher: Teacher,
    weights: dict[str, Tensor],
    photos: Sequence[Pixels],
    lpips: LPIPS,
    sheet: Path,
    side: int = 384,
) -> HeldOut:
    """Code the centre of each picture with `weights` in place of the teacher's own, and write original over
    reconstruction, side by side, to `sheet`; below the smaller ones it is black."""
    device = next(teacher.parameters()).device
    own = {name: value.clone() for name, value in teacher.state_dict().items()}
    teacher.load_state_dict(weights)
    figures, columns = [], []
    for photo in photos:
        x = centre(photo, side).to(device)
        output = teacher(x)
        x_hat = output.x_hat.clamp(0.0, 1.0)
        mse = torch.mean((x - x_hat) ** 2).item()
        bpp = output.rounded_bits.item() / (x.shape[2] * x.shape[3])
        figures.append((bpp, psnr_of(mse), lpips(x_hat, x).item()))
        columns.append(torch.cat([x, x_hat], dim=2)[0])
    teacher.load_state_dict(own)
    most = max(column.shape[1] for column in columns)
    row = torch.cat([F.pad(column, (0, 0, 0, most - column.shape[1])) for column in columns], dim=2)
    Image.fromarray((row.permute(1, 2, 0).cpu().numpy() * 255.0).round().astype(np.uint8)).save(sheet)
    return HeldOut(*np.mean(figures, axis=0).tolist())
