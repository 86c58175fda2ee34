"""Stage 3 in training: the hyperprior alone, on crops as large as pictures."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from microdose_server.codec.teacher import Teacher
from microdose_server.training.checkpoint import RunState
from microdose_server.training.loop import Run
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import TeacherLoss, stage_three_loss
from microdose_server.training.peers import ALONE, Peers
from microdose_server.training.recipe import StageThree


class PriorRun(Run):
    """A run that teaches a finished teacher what its latents cost inside a picture.

    `critic`, the state of the discriminator that it was trained against, if any, is kept for it as it is:
    pictures stay what they are.
    """

    stage = 3
    recipe: StageThree

    def __init__(
        self,
        teacher: Teacher,
        recipe: StageThree,
        device: str,
        seed: int = 0,
        peers: Peers = ALONE,
        critic: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(teacher, recipe, device, seed, peers)
        self.critic = dict(critic or {})

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> TeacherLoss:
        """What the hyperprior learns from."""
        return stage_three_loss(self.teacher, x, self.peers)

    def state(self) -> RunState:
        """A snapshot for `save_state`; every process of the run has to take it."""
        return replace(super().state(), discriminator=self.critic)

    def restore(self, state: RunState) -> None:
        """Go on exactly where `state` was taken. Raises UnsupportedVersion as `Run`'s."""
        super().restore(state)
        self.critic = state.discriminator
