"""The processes of one run, each with its share of every batch (`torchrun`); usually there is only one.

    one generator of crops, the same in all --> batch of N --> process r takes crops r, r + P, r + 2P, ...
    gradients, rate and loss: means over all P --> everywhere the step that a single process would take

Lightning Fabric joins them, places each on its GPU and carries what they exchange. All calls but `share`
are collective: every process has to make them, in the same order.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from microdose.errors import BadUpload, Unavailable

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Peers:
    """Process `rank` of `count`; what is exchanged passes through tensors on `device`."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    fabric: "Fabric | None" = None
    """What joins them; one that is alone has none."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, size: int) -> int:
        """How many of `size` crops each process has. Raises BadUpload if they cannot be shared evenly."""
        if size % self.count:
            raise BadUpload(f"{size} crops cannot be shared by {self.count} processes; choose a multiple")
        return size // self.count

    def means(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over all processes."""
        if self.fabric is None:
            return list(values)
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return [float(value) for value in _tensor(self.fabric.all_reduce(own)).tolist()]

    def mean(self, value: float) -> float:
        """The mean of a value over all processes."""
        return self.means([value])[0]

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the mean gradient."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.fabric is None or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        parts = _tensor(self.fabric.all_reduce(flat)).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors by those of the first process."""
        if self.fabric is not None:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)  # in place, which Fabric's own is not

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in the order of their ranks."""
        if self.fabric is None:
            return [tensor]
        # Clones: a generator reads its state from the beginning of a tensor's memory.
        return [part.clone() for part in _tensor(self.fabric.all_gather(tensor)).to(tensor.device)]


def _tensor(exchanged: object) -> Tensor:
    """What Fabric gives back, which for a tensor is one."""
    assert isinstance(exchanged, Tensor)
    return exchanged


ALONE = Peers()


def must_be_here(device: str) -> None:
    """Raise Unavailable for a GPU that is not there."""
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        found = f"has {count} of them, from cuda:0 on" if count else "has no GPU that torch can use"
        raise Unavailable(f"there is no {device} here: this machine {found}; choose another --device, or cpu")


@contextmanager
def joined(device: str) -> Iterator[Peers]:
    """Join the processes that `torchrun` started, each on a GPU of its own where `device` is cuda.

    Raises Unavailable for a GPU that is not there, and for processes that something else has started.
    """
    must_be_here(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Peers(device=device)
        return
    if "LOCAL_WORLD_SIZE" not in os.environ:
        raise Unavailable(
            "WORLD_SIZE tells of several processes, LOCAL_WORLD_SIZE not how many are here: start them with "
            "torchrun, or unset WORLD_SIZE"
        )
    from lightning_fabric import Fabric  # takes seconds, and one that is alone has no use for it

    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(accelerator=device.partition(":")[0], devices=here, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    try:
        yield Peers(fabric.global_rank, fabric.world_size, str(fabric.device), fabric)
    finally:
        distributed.destroy_process_group()
