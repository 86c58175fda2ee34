"""How a generic student starts: with a thumbnail that it already gets right.

Three channels of the head predict red, green and blue of each 16 x 16 block, linearly and by least squares,
from the latents; the upsampling layers repeat them. Everything else is learned as a correction to that blocky
picture.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microdose.segment import STRIDE
from microdose_server.codec.student import LightStudent

RIDGE = 1e-3
"""Keeps channels that are always zero from getting weights at all."""


def fit_thumbnail(y_hat: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
    """(weight [3, C], bias [3]) that best predict the mean colours of x_hat's 16 x 16 blocks.

    y_hat: [N, C, h, w]. x_hat: [N, 3, 16h, 16w] in 0..1.
    """
    means = F.avg_pool2d(x_hat, STRIDE).permute(0, 2, 3, 1).reshape(-1, 3).double()
    latents = y_hat.permute(0, 2, 3, 1).reshape(-1, y_hat.shape[1]).double()
    design = torch.cat(
        [latents, torch.ones(len(latents), 1, dtype=torch.float64, device=latents.device)], dim=1
    )
    gram = design.T @ design
    gram += RIDGE * len(latents) * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    solution = torch.linalg.solve(gram, design.T @ means).float()
    return solution[:-1].T, solution[-1]


@torch.no_grad()
def carry_thumbnail(student: LightStudent, weight: Tensor, bias: Tensor) -> None:
    """Write the prediction into a fresh student, whose blocks are still the identity."""
    head = student.head
    assert isinstance(head, nn.Conv2d)
    centre = head.kernel_size[0] // 2
    head.weight[:3] = 0.0
    # The long skip adds the head's output to itself.
    head.weight[:3, :, centre, centre] = weight / 2.0
    _bias(head)[:3] = bias / 2.0
    for layer, block in ((student.up_eighth, 2), (student.up_quarter, 2), (student.out, 4)):
        _repeat(layer, block)


def _repeat(layer: nn.Conv2d, block: int) -> None:
    """Make the layer's first 3 channels, after its pixel shuffle, copies of its first 3 inputs."""
    size = block * block
    layer.weight[: 3 * size] = 0.0
    _bias(layer)[: 3 * size] = 0.0
    for colour in range(3):
        layer.weight[colour * size : (colour + 1) * size, colour, 1, 1] = 1.0


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
