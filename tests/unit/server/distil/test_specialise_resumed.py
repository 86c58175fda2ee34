"""What a distillation that died leaves to the next one."""

import numpy as np
import pytest

from microdose.base import LoadedBase
from microdose.resources import DoseChoice
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import Budget, Dosed, Target, specialise
from tests.unit.server.distil.conftest import dose


class Died(Exception):
    """A worker that ends in the middle."""


class Kept:
    """Keeps a run the time of that number that it may."""

    def __init__(self, time: int) -> None:
        self.time, self.asked, self.saved = time, 0, 0
        self.data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def due(self) -> bool:
        self.asked += 1
        return self.asked == self.time

    def save(self, data: bytes) -> None:
        self.data, self.saved = data, self.saved + 1


@pytest.mark.parametrize(
    ("time", "first"),
    [(17, 13), (19, 14), (20, 14), (61, 53)],
    ids=["in a phase", "after a phase", "before the next", "in the last"],
)
def test_a_resumed_run_ends_with_the_same_dose(tiny_teacher_base: LoadedBase, time: int, first: int) -> None:
    """Wherever it was kept; `first` is the step that it goes on with."""
    last = 55
    rng = np.random.default_rng(0)
    target = Target(
        rng.normal(0, 1, (16, 2, 2)).astype(np.float32), rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
    )

    def run(keeper: Kept | None, dies: bool) -> tuple[Dosed, list[int]]:
        told: list[int] = []

        def tell(progress: Progress) -> None:
            told.append(progress.step)
            if dies and progress.step == last:
                raise Died

        dosed = specialise(
            tiny_teacher_base,
            [target] * 20,
            choice=DoseChoice.AUTO,
            lmbda=1e-3,
            budget=Budget(steps=80),
            epoch=0,
            report=tell,
            keeper=keeper,
        )
        return dosed, told

    whole, _ = run(None, dies=False)
    keeper = Kept(time)
    with pytest.raises(Died):
        run(keeper, dies=True)
    again, told = run(keeper, dies=False)
    assert told[0] == first
    assert again == whole


def test_the_checkpoint_of_another_loss_is_not_used(
    tiny_teacher_base: LoadedBase, targets: list[Target]
) -> None:
    """Without the teacher's features a term of it is missing."""
    keeper = Kept(time=20)
    for towards in (targets, [Target(target.y_hat, target.pixels) for target in targets]):
        told: list[Progress] = []
        dose(tiny_teacher_base, towards, DoseChoice.GAINS, told=told, keeper=keeper)
        assert told[0].step == 1
    assert keeper.saved == 1


def test_the_checkpoint_of_another_run_is_not_used(
    tiny_teacher_base: LoadedBase, targets: list[Target]
) -> None:
    keeper, budget = Kept(time=50), Budget(steps=52)
    for epoch in (0, 1):
        told: list[Progress] = []
        dose(
            tiny_teacher_base, targets, DoseChoice.GAINS, budget=budget, told=told, epoch=epoch, keeper=keeper
        )
        assert told[0].step == 1
    assert keeper.saved == 1
