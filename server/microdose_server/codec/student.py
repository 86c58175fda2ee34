"""Students: light decoders of one form. A head, MicroRN with a long skip around it, a tail that paints.

    y_hat --head--> h --MicroRN--> + --tail--> x_hat
                    '--------------^

A light student's tail is at most a quarter of its work:

    up, block at 1/8 --> up, block at 1/4 --> up by 4

Upsampling is a convolution and a pixel shuffle: at equal MACs that is faster than transposed convolutions or
wide outer layers. The paper's own form (Helminger et al. 2021) keeps the teacher's head and tail as they are.
"""

import copy
from dataclasses import dataclass
from typing import TypeAlias

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from microdose_server.codec.micro import SLOPE, initialise, is_micro, micro_rn, projected_micro_rn
from microdose_server.codec.presets import Preset
from microdose_server.codec.teacher import Generator


@dataclass(frozen=True)
class LightPreset:
    """Channels of the head and MicroRN, number of its blocks, channels at 1/8 and at 1/4 resolution."""

    name: str
    width: int
    blocks: int
    eighth: int
    quarter: int


@dataclass(frozen=True)
class PaperPreset:
    """Channels and number of MicroRN's blocks; the widths outside are the teacher's."""

    name: str
    hidden: int
    blocks: int


StudentPreset: TypeAlias = LightPreset | PaperPreset
STUDENTS: dict[str, StudentPreset] = {
    preset.name: preset
    for preset in (
        LightPreset("tiny", 16, 1, 8, 8),
        LightPreset("live", 56, 2, 24, 16),
        LightPreset("standard", 96, 3, 48, 24),
        LightPreset("fine", 160, 3, 64, 32),
        PaperPreset("paper", 64, 3),
    )
}


class Student(nn.Module):
    """The folded student: its parameters are exactly the constants of its ONNX graph, by the same names.

    y_hat [N, C, h, w] -> x_hat [N, 3, 16h, 16w], nominally in 0..1. `hidden` is the width of MicroRN's
    blocks, `width` that of what comes out of it.
    """

    def __init__(self, latent_channels: int, width: int, hidden: int, head: nn.Module) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.width = width
        self.hidden = hidden
        self.head = head
        self.micro = nn.Sequential()

    def trunk(self, y_hat: Tensor) -> Tensor:
        """All that happens at 1/16 resolution before the tail: [N, width, h, w]."""
        after_head = self.head(y_hat)
        out: Tensor = self.micro(after_head) + after_head
        return out

    def paint(self, trunk: Tensor) -> Tensor:
        """The tail: from the trunk's features to x_hat."""
        raise NotImplementedError

    def may_change(self, name: str) -> bool:
        """Whether a dose may change the parameter of this name: any, in a student light throughout."""
        return name in dict(self.named_parameters())

    def forward(self, y_hat: Tensor) -> Tensor:
        return self.paint(self.trunk(y_hat))


class PlainBlock(nn.Module):
    """x + conv(LReLU(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.leaky_relu(self.first(x), SLOPE)) + x
        return out


class LightStudent(Student):
    """A student that is small throughout."""

    def __init__(self, latent_channels: int, preset: LightPreset) -> None:
        width = preset.width
        super().__init__(latent_channels, width, width, nn.Conv2d(latent_channels, width, 3, padding=1))
        self.micro = micro_rn(width, preset.blocks)
        self.up_eighth = nn.Conv2d(width, 4 * preset.eighth, 3, padding=1)
        self.eighth = PlainBlock(preset.eighth)
        self.up_quarter = nn.Conv2d(preset.eighth, 4 * preset.quarter, 3, padding=1)
        self.quarter = PlainBlock(preset.quarter)
        self.out = nn.Conv2d(preset.quarter, 3 * 16, 3, padding=1)
        self.apply(initialise)
        for block in (self.eighth, self.quarter):
            nn.init.zeros_(block.second.weight)
        nn.init.constant_(self.out.bias, 0.5)  # type: ignore[arg-type]

    def paint(self, trunk: Tensor) -> Tensor:
        x = F.leaky_relu(F.pixel_shuffle(self.up_eighth(trunk), 2), SLOPE)
        x = F.leaky_relu(F.pixel_shuffle(self.up_quarter(self.eighth(x)), 2), SLOPE)
        return F.pixel_shuffle(self.out(self.quarter(x)), 4)


class PaperStudent(Student):
    """A generator with MicroRN in its tower's place; a fresh one is that generator without a tower."""

    def __init__(self, generator: Generator, preset: PaperPreset) -> None:
        first = next(layer for layer in generator.head if isinstance(layer, nn.Conv2d))
        width = first.out_channels
        super().__init__(first.in_channels, width, preset.hidden, copy.deepcopy(generator.head))
        self.micro = projected_micro_rn(width, preset.hidden, preset.blocks)
        self.tail = copy.deepcopy(generator.tail)
        for kept in (self.head, self.tail):
            kept.requires_grad_(False)

    def paint(self, trunk: Tensor) -> Tensor:
        x_hat: Tensor = self.tail(trunk)
        return x_hat

    def may_change(self, name: str) -> bool:
        """Only MicroRN's: head and tail are the teacher's, in every sequence."""
        return is_micro(name)


def build_student(preset: StudentPreset, generator: Generator) -> Student:
    """A fresh student for a teacher's generator."""
    if isinstance(preset, PaperPreset):
        return PaperStudent(generator, preset)
    first = next(layer for layer in generator.head if isinstance(layer, nn.Conv2d))
    return LightStudent(first.in_channels, preset)


def student_from_onnx(graph: bytes) -> Student:
    """The student inside a base, ready to be trained. Its shape is read off the constants."""
    constants = {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}
    state = {name: torch.from_numpy(numpy_helper.to_array(value).copy()) for name, value in constants.items()}
    micro = {name.split(".")[1] for name in state if is_micro(name)}
    blocks = sum(part.isdigit() for part in micro)
    student = _paper_of(state, blocks) if "enter" in micro else _light_of(state, blocks)
    student.load_state_dict({name: state[name] for name in student.state_dict()})
    return student


def _light_of(state: dict[str, Tensor], blocks: int) -> LightStudent:
    width, latent_channels = state["head.weight"].shape[:2]
    eighth, quarter = state["eighth.first.weight"].shape[0], state["quarter.first.weight"].shape[0]
    return LightStudent(latent_channels, LightPreset("loaded", width, blocks, eighth, quarter))


def _paper_of(state: dict[str, Tensor], blocks: int) -> PaperStudent:
    hidden, width = state["micro.enter.weight"].shape[:2]
    (latent_channels,) = {v.shape[1] for k, v in state.items() if k[:5] == "head." and v.shape[2:] == (3, 3)}
    (outer,) = {v.shape[1] for k, v in state.items() if k[:5] == "tail." and v.shape[2:] == (7, 7)}
    norm = any(name.endswith("gamma") for name in state)
    shape = Preset("loaded", width, 0, latent_channels, 0, outer, norm)
    return PaperStudent(Generator(shape), PaperPreset("loaded", hidden, blocks))


@torch.no_grad()
def kmac_per_pixel(student: Student) -> float:
    """Thousands of multiply-accumulates for each pixel of the decoded picture."""
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # A transposed convolution spends its kernel on every input, a plain one on every output.
        where = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else out
        macs += layer.weight.numel() * where.shape[2] * where.shape[3]

    layers = [layer for layer in student.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    weight = next(student.parameters())
    pixels: int = student(weight.new_zeros(1, student.latent_channels, 1, 1)).shape[2:].numel()
    for hook in hooks:
        hook.remove()
    return macs / pixels / 1000
