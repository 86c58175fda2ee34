"""DISTS, deep image structure and texture similarity (Ding et al., TPAMI 2020, arXiv 2004.07728).

    x, y in 0..1 -> the pictures themselves, and VGG-16 with blurred (L2) pooling: 5 feature maps
                 -> per channel: texture (means), structure (covariance) -> weighed by alpha, beta -> 1 - sum

0 for equal pictures. Pictures are compared at their own size. Unlike LPIPS it forgives texture that was made
up, as long as it looks alike, and no codec here was trained for it.
"""

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microdose_server.evaluate.dists_weights import WEIGHTS

BLOCKS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
LEAST = 1e-6
"""Of both ratios: keeps channels without any signal at 1."""


class BlurredPool(nn.Module):
    """Root mean square under a 3x3 Hann window, at every second position."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        side = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("window", torch.outer(side, side)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        window = self.window.expand(x.shape[1], 1, 3, 3)
        power = F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1])
        return (power + 1e-12).sqrt()


def trunk() -> nn.Sequential:
    """VGG-16 up to relu5_3 with the layer numbers (and so tensor names) of torchvision."""
    layers: list[nn.Module] = []
    for block in BLOCKS:
        layers += [BlurredPool()] if layers else []
        for wide, wider in itertools.pairwise(block):
            layers += [nn.Conv2d(wide, wider, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


class DISTS(nn.Module):
    """Distances [N] between pictures x and y, float [N, 3, H, W] in 0..1, each side at least 16."""

    mean: Tensor
    deviation: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        found = WEIGHTS.load(weights or WEIGHTS.find())
        tensors = {name: torch.from_numpy(values) for name, values in found.items()}
        total = tensors["alpha"].sum() + tensors["beta"].sum()
        self.register_buffer("alpha", tensors.pop("alpha") / total)
        self.register_buffer("beta", tensors.pop("beta") / total)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.features = trunk()
        self.features.load_state_dict(
            {name.removeprefix("features."): value for name, value in tensors.items()}
        )
        self.requires_grad_(False)
        self.eval()

    def embed(self, x: Tensor) -> tuple[Tensor, ...]:
        """The picture and the last feature map of each block: about 500 bytes per pixel in all."""
        maps = [x]
        x = (x - self.mean) / self.deviation
        for layer in self.features:
            if isinstance(layer, BlurredPool):
                maps.append(x)
            x = layer(x)
        return (*maps, x)

    def between(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
        """Distances [N] between the embeddings of N pairs."""
        texture, structure = zip(*map(_similarities, a, b), strict=True)
        similar = torch.cat(texture, 1) @ self.alpha + torch.cat(structure, 1) @ self.beta
        return 1.0 - similar

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.between(self.embed(x), self.embed(y))


def _similarities(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(texture, structure) of two feature maps [N, C, h, w], each [N, C]."""
    a_mean, b_mean = a.mean((2, 3)), b.mean((2, 3))
    a_off, b_off = a - a_mean[:, :, None, None], b - b_mean[:, :, None, None]
    texture = (2 * a_mean * b_mean + LEAST) / (a_mean.square() + b_mean.square() + LEAST)
    covariance = (a_off * b_off).mean((2, 3))
    spread = a_off.square().mean((2, 3)) + b_off.square().mean((2, 3))
    return texture, (2 * covariance + LEAST) / (spread + LEAST)
