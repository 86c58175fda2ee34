"""Stage 2 in training: the teacher against a discriminator, in turns, each on a batch of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.fill import fill
from microdose_server.codec.teacher import Teacher
from microdose_server.training.checkpoint import RunState
from microdose_server.training.loop import Run
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import TeacherLoss, discriminator_loss, stage_two_loss
from microdose_server.training.peers import ALONE, Peers
from microdose_server.training.precision import as_placed, placed, reconstruct
from microdose_server.training.recipe import StageTwo

BETAS = (0.9, 0.99)


class AdversarialRun(Run):
    """A run with a discriminator. The teacher comes from stage 1; from scratch the two never settle.

    `critic`, the state of a discriminator, is what this one begins with, where the teacher had one before.
    """

    stage = 2
    recipe: StageTwo

    def __init__(
        self,
        teacher: Teacher,
        recipe: StageTwo,
        device: str,
        seed: int = 0,
        peers: Peers = ALONE,
        critic: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(teacher, recipe, device, seed, peers)
        self.discriminator = placed(Discriminator(teacher.preset.latent_channels), device)
        if critic:
            fill(self.discriminator, critic, "the discriminator to begin with")
        peers.agree(self.discriminator.state_dict().values())
        self.critics = list(self.discriminator.parameters())
        self.discriminator_optimizer = torch.optim.Adam(
            self.critics, recipe.discriminator_learning_rate, BETAS
        )

    def learn(self, batches: Iterator[Tensor], lpips: LPIPS, progress: float) -> TeacherLoss:
        """One step of the discriminator, then one of the teacher on another batch."""
        told_apart = self.judge(next(batches), progress)
        return super().learn(batches, lpips, progress)._replace(discriminator=told_apart)

    def judge(self, x: Tensor, progress: float) -> float:
        """One optimiser step of the discriminator on the batch x [N, 3, H, W] in 0..1; returns its loss."""
        x = as_placed(x, self.device)
        with torch.no_grad():
            output = reconstruct(self.teacher, x)
        self.discriminator.requires_grad_(True)
        loss = discriminator_loss(self.discriminator, x, output)
        rate = self.recipe.discriminator_learning_rate_at(progress)
        self.descend(loss, self.critics, self.discriminator_optimizer, rate)
        self.discriminator.requires_grad_(False)  # the teacher's step has no use for its gradients
        return loss.item()

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> TeacherLoss:
        """What the teacher learns from."""
        weight = self.recipe.rate_weight_at(progress, self.bpp)
        return stage_two_loss(
            self.teacher, self.discriminator, lpips, x, self.recipe, progress, weight, self.peers
        )

    def state(self) -> RunState:
        """A snapshot for `save_state`; every process of the run has to take it."""
        return replace(
            super().state(),
            discriminator=self.discriminator.state_dict(),
            discriminator_optimizer=self.discriminator_optimizer.state_dict(),
        )

    def restore(self, state: RunState) -> None:
        """Go on exactly where `state` was taken. Raises UnsupportedVersion as `Run`'s."""
        super().restore(state)
        fill(self.discriminator, state.discriminator, "the checkpoint's discriminator")
        self.discriminator_optimizer.load_state_dict(state.discriminator_optimizer)
