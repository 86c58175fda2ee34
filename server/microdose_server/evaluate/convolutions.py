"""The convolutions that a computation runs: what they cost in products, and how long each takes by itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

Convolution = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True)
class Call:
    """One call of a layer: the shapes of what went in and came out, the gradients it will be asked for."""

    layer: Convolution
    given: torch.Size
    made: torch.Size
    of_input: bool
    of_weights: bool

    def macs(self) -> int:
        """Multiply-accumulates: the kernel's, once forward and once for each gradient."""
        # A transposed convolution spreads each input over its kernel; a plain one gathers each output.
        n, _, height, width = self.given if isinstance(self.layer, nn.ConvTranspose2d) else self.made
        return (1 + self.of_input + self.of_weights) * self.layer.weight.numel() * n * height * width

    def seconds(self, rounds: int = 4) -> float:
        """The least time of some rounds, on a CPU, with nothing else between them."""
        # What learns may change from turn to turn: a copy learns what the layer did in this call.
        layer = deepcopy(self.layer).requires_grad_(self.of_weights)
        x = torch.rand(self.given).contiguous(memory_format=torch.channels_last)
        upstream = torch.rand(self.made).contiguous(memory_format=torch.channels_last)
        inputs = (x.requires_grad_(self.of_input), *layer.parameters())
        wanted = [each for each in inputs if each.requires_grad]
        times = []
        for _ in range(rounds):
            begin = perf_counter()
            out = layer(x)
            if wanted:
                torch.autograd.grad(out, wanted, upstream)
            times.append(perf_counter() - begin)
        return min(times)


@contextmanager
def calls_of(networks: Sequence[nn.Module]) -> Iterator[list[Call]]:
    """The calls of the networks' convolutions in this context, in their order."""
    calls: list[Call] = []

    def note(layer: Convolution, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        learning = torch.is_grad_enabled()
        of_input, of_weights = learning and inputs[0].requires_grad, learning and layer.weight.requires_grad
        calls.append(Call(layer, inputs[0].shape, output.shape, of_input, of_weights))

    modules = [layer for network in networks for layer in network.modules()]
    handles = [layer.register_forward_hook(note) for layer in modules if isinstance(layer, Convolution)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
