"""LPIPS, the learned perceptual distance (Zhang et al., CVPR 2018, version 0.1, AlexNet trunk).

    x, y in 0..1 -> shift and scale -> AlexNet -> 5 feature maps -> unit length per position
                 -> squared difference -> non-negative 1x1 head -> mean over positions -> sum of 5

The network is frozen: it passes gradients through to its inputs and never learns. It is written
out here, because the usual package pulls in torchvision and downloads at run time.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from microdose_server.training.lpips_weights import WEIGHTS

Features = tuple[Tensor, ...]

PHASES = 16
"""Pixels from one sample of AlexNet's deepest maps to the next. Pictures that are coded on a grid of so many
are seen at the same places of the grid, again and again: what lies between them may go wrong for nothing."""
Phase = tuple[int, int]
"""By how many pixels, 0..PHASES - 1, pictures are rolled down and right before they are seen."""

CHANNELS = (64, 192, 384, 256, 256)
MEAN = (-0.030, -0.088, -0.188)
DEVIATION = (0.458, 0.448, 0.450)
EPSILON = 1e-10  # under the root of the feature norm: keeps the gradient of near-zero features finite


def trunk() -> nn.Sequential:
    """AlexNet's convolutional part, with the layer numbers (and so tensor names) of torchvision."""
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS[0], kernel_size=11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(CHANNELS[0], CHANNELS[1], kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(CHANNELS[1], CHANNELS[2], kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(CHANNELS[2], CHANNELS[3], kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(CHANNELS[3], CHANNELS[4], kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )


class LPIPS(nn.Module):
    """Distances of picture pairs: 0 for equal pictures, around 0.1 barely and 0.7 plainly different.

    `weights` is a safetensors file with the tensors `features.{0,3,6,8,10}.{weight,bias}` and
    `lin{0..4}.weight`; left out, that of the cache.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self.features = trunk()
        self.register_buffer("shift", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        found = WEIGHTS.load(weights or WEIGHTS.find())
        self._load({name: torch.from_numpy(values) for name, values in found.items()})
        self.requires_grad_(False)
        self.eval()

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        prefix = "features."
        self.features.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
        for k in range(len(CHANNELS)):
            head = tensors[f"lin{k}.weight"]
            # A head only ever weighs squared differences, so its root can weigh the features instead.
            self.register_buffer(f"root{k}", head.clamp_min(0).sqrt())

    def embed(self, x: Tensor, phase: Phase = (0, 0)) -> Features:
        """Five feature maps of pictures [N, 3, H, W] in 0..1, H and W at least 63.

        Distances are plain squared differences of them. Keep those of a fixed target instead of
        computing them in every step.
        """
        maps: list[Tensor] = []
        x = (2 * torch.roll(x, phase, (2, 3)) - 1 - self.shift) / self.scale
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return tuple(self._unit(k, features) for k, features in enumerate(maps))

    def _unit(self, k: int, features: Tensor) -> Tensor:
        length = (features.square().sum(dim=1, keepdim=True) + EPSILON).sqrt()
        root: Tensor = self.get_buffer(f"root{k}")
        return features / length * root

    @staticmethod
    def between(a: Features, b: Features) -> Tensor:
        """Distances [N] between the embeddings of N pairs."""
        terms = [(p - q).square().sum(dim=1).mean(dim=(1, 2)) for p, q in zip(a, b, strict=True)]
        return torch.stack(terms).sum(dim=0)

    def forward(self, x: Tensor, y: Tensor, phase: Phase = (0, 0)) -> Tensor:
        """Distances [N] between pictures x and y, float [N, 3, H, W] in 0..1; they may leave the range."""
        return self.between(self.embed(x, phase), self.embed(y, phase))

    def estimate(self, x: Tensor, y: Tensor, pairs: int, phases: int, chance: torch.device) -> Tensor:
        """The mean distance, a scalar, of the first `pairs` pairs of a batch: what training can afford.

        They are seen in one phase, 0..phases - 1 each way, that the generator of the device `chance` draws.
        """
        down, right = torch.randint(phases, (2,), device=chance).tolist()
        distances: Tensor = self(x[:pairs], y[:pairs], (down, right))
        return distances.mean()
