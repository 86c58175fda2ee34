"""Which of several dosed students is nearest to the targets already: the one to start from."""

from collections.abc import Sequence

from torch import Tensor

from microdose.base import LoadedBase
from microdose.dose import dosed_student
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.patch import Patch
from microdose_server.distil.tiles import Target
from microdose_server.training.lpips import LPIPS


def nearest(
    base: LoadedBase, targets: Sequence[Target], chains: Sequence[Sequence[bytes]], device: str = "cpu"
) -> int:
    """The number of the chain of doses, the oldest first, whose student has the least distortion."""
    if len(chains) == 1:
        return 0
    run, students = _compared(base, targets, chains, device)
    found = [run.score(weights, run.searched) for weights in students]
    return found.index(min(found))


def distances(
    base: LoadedBase,
    targets: Sequence[Target],
    chains: Sequence[Sequence[bytes]],
    device: str = "cpu",
) -> list[float]:
    """The distortion of each chain's student on the tiles that a `Dosed` is judged by.

    Raises as `dosed_student`.
    """
    run, students = _compared(base, targets, chains, device)
    return [run.score(weights, run.judged) for weights in students]


def _compared(
    base: LoadedBase, targets: Sequence[Target], chains: Sequence[Sequence[bytes]], device: str
) -> tuple[Overfit, list[dict[str, Tensor]]]:
    """What scores students on these targets, and each chain's weights."""
    students = [student_from_onnx(dosed_student(base, chain)).to(device) for chain in chains]
    named = [dict[str, Tensor](student.named_parameters()) for student in students]
    return Overfit(Patch(base.document, named[0]), Objective(students[0], targets, LPIPS(), device)), named
