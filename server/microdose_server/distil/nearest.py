"""Which of several dosed students is nearest to the targets already: the one to start from."""

from collections.abc import Sequence

from microdose.base import LoadedBase
from microdose.dose import dosed_student
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.patch import Patch
from microdose_server.distil.rate import JUDGED_TILES, SEARCHED_TILES
from microdose_server.distil.tiles import Target
from microdose_server.training.lpips import LPIPS


def nearest(
    base: LoadedBase, targets: Sequence[Target], chains: Sequence[Sequence[bytes]], device: str = "cpu"
) -> int:
    """The number of the chain of doses, the oldest first, whose student has the least distortion."""
    if len(chains) == 1:
        return 0
    found = distances(base, targets, chains, device, SEARCHED_TILES)
    return found.index(min(found))


def distances(
    base: LoadedBase,
    targets: Sequence[Target],
    chains: Sequence[Sequence[bytes]],
    device: str = "cpu",
    tiles: int = JUDGED_TILES,
) -> list[float]:
    """The distortion of each chain's student on so many tiles; by default those of `Dosed`.

    Raises as `dosed_student`.
    """
    students = [student_from_onnx(dosed_student(base, chain)).to(device) for chain in chains]
    generic = dict(students[0].named_parameters())
    run = Overfit(Patch(base.document, generic), Objective(students[0], targets, LPIPS(), device))
    sample = run.sample(tiles)
    return [run.score(dict(student.named_parameters()), sample) for student in students]
