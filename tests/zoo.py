"""Untrained models of CompressAI's architectures, small enough for a test, under names of its zoo."""

from pathlib import Path
from typing import Any

import torch

from microdose_server.evaluate.zoo_models import ARCHITECTURES

NAMES = {
    "bmshj2018-factorized-prior-1-446d5c7f.pth.tar": "bmshj2018-factorized",
    "bmshj2018-factorized-ms-ssim-1-9781d705.pth.tar": "bmshj2018-factorized-ms-ssim",
    "bmshj2018-hyperprior-5-f8b614e1.pth.tar": "bmshj2018-hyperprior",
    "bmshj2018-hyperprior-ms-ssim-1-5cf249be.pth.tar": "bmshj2018-hyperprior-ms-ssim",
    "cheng2020-anchor-1-dad2ebff.pth.tar": "cheng2020-anchor",
    "cheng2020_anchor-ms-ssim-1-20f521db.pth.tar": "cheng2020-anchor-ms-ssim",
    "cheng2020_attn-mse-1-465f2b64.pth.tar": "cheng2020-attn",
    "cheng2020_attn-ms-ssim-1-c5381d91.pth.tar": "cheng2020-attn-ms-ssim",
    "mbt2018-1-3f36cd77.pth.tar": "mbt2018",
    "mbt2018-mean-3-723404a8.pth.tar": "mbt2018-mean",
    "mbt2018-mean-ms-ssim-1-5bf9c0b6.pth.tar": "mbt2018-mean-ms-ssim",
    "mbt2018-ms-ssim-1-2878436b.pth.tar": "mbt2018-ms-ssim",
}
"""Checkpoints of the zoo, and the family that each belongs to."""


def untrained(family: str, gain: float = 1.0) -> Any:
    """A model that is ready to code; the larger its `gain`, the larger its latents, and so its strings."""
    torch.manual_seed(0)
    widths = (8,) if family.startswith("cheng2020") else (8, 12)
    model = ARCHITECTURES[family.removesuffix("-ms-ssim")](*widths).eval()
    with torch.no_grad():
        for name, weight in model.g_a.named_parameters():
            if name.startswith("6."):
                weight.mul_(gain)
    model.update()
    return model


def keep(model: Any, folder: Path, name: str) -> Path:
    """A checkpoint as the zoo has them: weights and tables, and nothing else."""
    torch.save(model.state_dict(), folder / name)
    return folder / name
