"""The student: a light decoder of plain convolutions, most of them at 1/16 resolution.

::

    y_hat --head--> h --MicroRN (degradation-aware blocks)--> + --> up, block at 1/8 --> up, block at 1/4
                    '-------------------- long skip ----------^                                         |
                                                                                   x_hat <-- up by 4 <--'

MicroRN follows Helminger et al. (2021), its blocks Wang et al. (DASR, CVPR 2021). A block's depthwise kernels
and gains depend on a vector v only, and v is one constant per sequence, so for decoding they fold into plain
weights. Upsampling is a convolution and a pixel shuffle: at equal MACs that is faster than transposed
convolutions or wide outer layers.
"""

from dataclasses import dataclass

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1
VECTOR = 64


@dataclass(frozen=True)
class StudentPreset:
    """Channels of the head and MicroRN, number of its blocks, channels at 1/8 and at 1/4 resolution."""

    name: str
    width: int
    blocks: int
    eighth: int
    quarter: int


STUDENTS = {
    preset.name: preset
    for preset in (
        StudentPreset("tiny", 16, 1, 8, 8),
        StudentPreset("standard", 96, 3, 48, 24),
    )
}


class Gain(nn.Module):
    """One factor per channel, shape [C, 1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class DegradationAwareConv(nn.Module):
    """conv1x1(LReLU(depthwise(x))) + gain * x, folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.skip = Gain(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(F.leaky_relu(self.depthwise(x), SLOPE)) + self.skip(x)
        return out


class MicroBlock(nn.Module):
    """A degradation-aware block: x + conv(LReLU(DA(LReLU(conv(LReLU(DA(x)))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = DegradationAwareConv(channels)
        self.between = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = DegradationAwareConv(channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu(self.first(x), SLOPE)
        out = F.leaky_relu(self.between(out), SLOPE)
        out = F.leaky_relu(self.second(out), SLOPE)
        final: Tensor = self.last(out) + x
        return final


class PlainBlock(nn.Module):
    """x + conv(LReLU(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.leaky_relu(self.first(x), SLOPE)) + x
        return out


class Student(nn.Module):
    """The folded student: its parameters are exactly the constants of its ONNX graph, by the same names.

    y_hat [N, C, h, w] -> x_hat [N, 3, 16h, 16w], nominally in 0..1.
    """

    def __init__(self, latent_channels: int, preset: StudentPreset) -> None:
        super().__init__()
        self.preset = preset
        self.head = nn.Conv2d(latent_channels, preset.width, 3, padding=1)
        self.micro = nn.ModuleList(MicroBlock(preset.width) for _ in range(preset.blocks))
        self.up_eighth = nn.Conv2d(preset.width, 4 * preset.eighth, 3, padding=1)
        self.eighth = PlainBlock(preset.eighth)
        self.up_quarter = nn.Conv2d(preset.eighth, 4 * preset.quarter, 3, padding=1)
        self.quarter = PlainBlock(preset.quarter)
        self.out = nn.Conv2d(preset.quarter, 3 * 16, 3, padding=1)
        self.apply(_initialise)
        nn.init.constant_(self.out.bias, 0.5)  # type: ignore[arg-type]

    def forward(self, y_hat: Tensor) -> Tensor:
        x = self.head(y_hat)
        after_head = x
        for block in self.micro:
            x = block(x)
        x = F.leaky_relu(F.pixel_shuffle(self.up_eighth(x + after_head), 2), SLOPE)
        x = F.leaky_relu(F.pixel_shuffle(self.up_quarter(self.eighth(x)), 2), SLOPE)
        return F.pixel_shuffle(self.out(self.quarter(x)), 4)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, MicroBlock):
        nn.init.zeros_(module.last.weight)
    if isinstance(module, PlainBlock):
        nn.init.zeros_(module.second.weight)


def is_dosable(name: str) -> bool:
    """Whether a dose may change the parameter of this name: all of MicroRN, and nothing else."""
    return name.startswith("micro.")


def student_from_onnx(graph: bytes) -> Student:
    """The student inside a base, ready to be trained. Its shape is read off the constants."""
    constants = {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}
    state = {name: torch.from_numpy(numpy_helper.to_array(value).copy()) for name, value in constants.items()}
    width, latent_channels = state["head.weight"].shape[:2]
    blocks = 1 + max(int(name.split(".")[1]) for name in state if is_dosable(name))
    eighth, quarter = state["eighth.first.weight"].shape[0], state["quarter.first.weight"].shape[0]
    student = Student(latent_channels, StudentPreset("loaded", width, blocks, eighth, quarter))
    student.load_state_dict(state)
    return student


def kmac_per_pixel(student: Student) -> float:
    """Thousands of multiply-accumulates for each pixel of the decoded picture."""
    at_sixteenth, at_eighth, at_quarter = 0, 0, 0
    for name, module in student.named_modules():
        if isinstance(module, nn.Conv2d):
            macs = module.weight.numel()
            at_sixteenth += macs if name.startswith(("head", "micro", "up_eighth")) else 0
            at_eighth += macs if name.startswith(("eighth", "up_quarter")) else 0
            at_quarter += macs if name.startswith(("quarter", "out")) else 0
    return (at_sixteenth / 256 + at_eighth / 64 + at_quarter / 16) / 1000
