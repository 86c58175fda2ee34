"""The processes of one run, each with its share of every batch (``torchrun``); usually there is only one.

::

    one generator of crops, the same in all --> batch of N --> process r takes crops r, r + P, r + 2P, ...
    gradients, rate and loss: means over all P --> everywhere the step that a single process would take

All calls but ``share`` are collective: every process has to make them, in the same order.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from microdose.errors import BadUpload, Unavailable


@dataclass(frozen=True)
class Peers:
    """Process ``rank`` of ``count``; what is exchanged passes through tensors on ``device``."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, size: int) -> int:
        """How many of ``size`` crops each process has. Raises BadUpload if they cannot be shared evenly."""
        if size % self.count:
            raise BadUpload(f"{size} crops cannot be shared by {self.count} processes; choose a multiple")
        return size // self.count

    def means(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in (total / self.count).tolist()]

    def mean(self, value: float) -> float:
        """The mean of a value over all processes."""
        return self.means([value])[0]

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the mean gradient."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors by those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in the order of their ranks."""
        if self.count == 1:
            return [tensor]
        found: list[Tensor] = [tensor] * self.count
        distributed.all_gather_object(found, tensor)
        return found


ALONE = Peers()


@contextmanager
def joined(device: str) -> Iterator[Peers]:
    """Join the processes that ``torchrun`` started, each on a GPU of its own where ``device`` is cuda.

    Raises Unavailable for a GPU that is not there.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Unavailable("this machine has no GPU that torch can use; train with --device cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Peers(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Peers(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
