"""Where MicroRN's depthwise kernels and gains come from: one vector v (DASR, Wang et al., CVPR 2021).

    v [64] --linear, LReLU, linear--> depthwise kernels [C, 1, 3, 3]     } of every degradation-aware
           --linear, LReLU, linear, sigmoid--> gains [C, 1, 1]           } convolution

v is one constant per sequence, so these small networks run once, never on a client: what they give is written
into the student as plain weights.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from microdose_server.codec.micro import SLOPE, VECTOR, DegradationAwareConv
from microdose_server.codec.student import Student

REDUCTION = 8
LEAST_GAIN = 1e-6
"""No sigmoid gives 0 or 1."""


class Degradation(nn.Module):
    """v and the networks that turn it into the kernels and gains of a student."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.names = [
            name for name, module in student.named_modules() if isinstance(module, DegradationAwareConv)
        ]
        channels = student.hidden
        self.v = nn.Parameter(torch.randn(VECTOR))
        self.kernels = nn.ModuleList(_kernel_network(channels) for _ in self.names)
        self.gains = nn.ModuleList(_gain_network(channels) for _ in self.names)

    def forward(self) -> dict[str, Tensor]:
        """The student's parameters that v decides, by their names in the student."""
        decided: dict[str, Tensor] = {}
        for name, kernel, gain in zip(self.names, self.kernels, self.gains, strict=True):
            decided[f"{name}.depthwise.weight"] = kernel(self.v).view(-1, 1, 3, 3)
            decided[f"{name}.skip.gain"] = gain(self.v).view(-1, 1, 1)
        return decided

    @torch.no_grad()
    def fold_into(self, student: Student) -> None:
        """Write the kernels and gains of the present v into the student."""
        parameters = dict(student.named_parameters())
        for name, value in self().items():
            parameters[name].copy_(value)

    @torch.no_grad()
    def reproduce(self, student: Student) -> None:
        """Let the present v decide just what is folded into `student`."""
        folded = dict(student.named_parameters())
        for name, kernel, gain in zip(self.names, self.kernels, self.gains, strict=True):
            kernels, gains = folded[f"{name}.depthwise.weight"], folded[f"{name}.skip.gain"]
            _give(kernel.children(), self.v, kernels)
            _give(list(gain.children())[:-1], self.v, torch.logit(gains, LEAST_GAIN))


def _give(layers: Iterable[nn.Module], v: Tensor, wanted: Tensor) -> None:
    """Change the last layer, as little as can be, so that they give `wanted` for v."""
    *before, last = layers
    assert isinstance(last, nn.Linear)
    hidden = nn.Sequential(*before)(v)
    missing = wanted.flatten().to(v.device) - last(hidden)
    last.weight.add_(torch.outer(missing, hidden) / hidden.square().sum())


def _kernel_network(channels: int) -> nn.Sequential:
    last = nn.Linear(VECTOR, channels * 9, bias=False)
    # For an input of unit variance, this gives each 3x3 kernel the size that He initialisation would.
    nn.init.normal_(last.weight, std=(2.0 / 9.0 / VECTOR) ** 0.5)
    return nn.Sequential(nn.Linear(VECTOR, VECTOR, bias=False), nn.LeakyReLU(SLOPE), last)


def _gain_network(channels: int) -> nn.Sequential:
    narrow = channels // REDUCTION
    return nn.Sequential(
        nn.Linear(VECTOR, narrow, bias=False),
        nn.LeakyReLU(SLOPE),
        nn.Linear(narrow, channels, bias=False),
        nn.Sigmoid(),
    )
