"""Stage 3 in training: the hyperprior alone, on crops as large as pictures."""

from torch import Tensor

from microdose_server.training.loop import Run
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import TeacherLoss, stage_three_loss
from microdose_server.training.recipe import StageThree


class PriorRun(Run):
    """A run that teaches a finished teacher what its latents cost inside a picture."""

    stage = 3
    recipe: StageThree

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> TeacherLoss:
        """What the hyperprior learns from."""
        return stage_three_loss(self.teacher, x, self.peers)
