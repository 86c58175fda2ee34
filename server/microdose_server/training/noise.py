"""The generator of the noise that stands in for rounding: its state belongs to a checkpoint.

On a CPU that is torch's own generator; a GPU has another. Each process of a run has its own noise, or crops
would share theirs.
"""

import torch
from torch import Tensor

from microdose_server.training.checkpoint import RunState
from microdose_server.training.peers import Peers


def seed_noise(seed: int, peers: Peers) -> None:
    """Start the noise of every process from `seed`."""
    torch.manual_seed(seed + peers.rank)


def noise_state(device: str) -> Tensor:
    """The state of the device's generator."""
    kind = torch.device(device)
    return torch.cuda.get_rng_state(kind) if kind.type == "cuda" else torch.get_rng_state()


def restore_noise(state: RunState, device: str, peers: Peers) -> None:
    """Go on with the noise of `state`, or with other noise if its run had other devices or processes."""
    kind = torch.device(device)
    torch.set_rng_state(state.torch_rng)
    if state.device != kind.type or len(state.noise_rng) != peers.count:
        if peers.count > 1:
            seed_noise(state.step, peers)
        return
    own = state.noise_rng[peers.rank]
    if kind.type == "cuda":
        torch.cuda.set_rng_state(own, kind)
    else:
        torch.set_rng_state(own)
