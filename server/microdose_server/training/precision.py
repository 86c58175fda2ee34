"""How networks compute: with the channels last, in single precision on a CPU and in bfloat16 on a GPU.

Only the teacher's large convolutions are worth bfloat16. Those that give latents and pictures, the norms
(`codec.layers`) and the entropy model, which counts bits and rounds, stay in single precision, and so do
LPIPS and the discriminator, small beside a teacher worth a GPU. By cuDNN's default, such convolutions
multiply in TF32, of eleven bits, and sum in single precision: that is left as it is.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from microdose_server.codec.teacher import Teacher, TeacherOutput

Network = TypeVar("Network", bound=nn.Module)


def placed(network: Network, device: str) -> Network:
    """The network on the device, its weights ordered for convolutions."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def as_placed(x: Tensor, device: str) -> Tensor:
    """A batch [N, 3, H, W] on the device, ordered like the weights of what is `placed`."""
    return x.to(device, memory_format=torch.channels_last)


def reconstruct(teacher: Teacher, x: Tensor) -> TeacherOutput:
    """A teacher's forward pass on the batch x: in bfloat16 on a GPU, in x's own precision elsewhere."""
    with mixed(x.device):
        output: TeacherOutput = teacher(x)
    return output


def mixed(device: torch.device) -> torch.autocast:
    """Inside, what a teacher does on a GPU is in bfloat16 where that is enough."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
