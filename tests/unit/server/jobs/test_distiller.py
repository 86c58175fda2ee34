from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from microdose_server.distil.specialise import Progress
from microdose_server.jobs.distiller import KEPT, Digests, Distiller, Made, Next, Seen
from microdose_server.store.lock import poll
from tests.stage import NOTHING, PATIENCE_S

GENERIC = Next(1, {None: ()}, ())
ROUNDS = (4, 16, 64, 256)


def seen(n: int) -> Seen:
    return Seen(Digests(str(n), ""), np.zeros((1, 1, 1), np.float32), 16, 16)


class Rounds:
    """Notes which pictures of how many a round is given."""

    def __init__(self) -> None:
        self.given: list[tuple[list[int], int]] = []

    def __call__(
        self, pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
    ) -> Made:
        self.given.append(([int(each.digests.segment) for each in pictures], count))
        return NOTHING

    def show(self, distiller: Distiller, first: int, last: int) -> None:
        """Let it see pictures `first` to `last` - 1, and wait for every round."""
        for n in range(first, last):
            distiller.see(seen(n), GENERIC)
            if n + 1 in ROUNDS:
                assert poll(partial(self._begun, n + 1), PATIENCE_S)

    def _begun(self, count: int) -> bool:
        return bool(self.given) and self.given[-1][1] == count


def test_rounds_come_ever_later_and_learn_from_pictures_of_the_whole_shot() -> None:
    rounds = Rounds()
    with Distiller(rounds) as distiller:
        rounds.show(distiller, 0, 256)
    assert [count for _, count in rounds.given] == list(ROUNDS)
    for pictures, count in rounds.given:
        assert len(pictures) == min(count, KEPT)
        assert pictures == list(range(0, count, count // len(pictures)))


def test_who_takes_a_round_up_goes_on_as_if_it_had_seen_the_shot() -> None:
    whole, taken_up = Rounds(), Rounds()
    with Distiller(whole) as distiller:
        whole.show(distiller, 0, 256)
    pictures, count = whole.given[2]
    with Distiller(taken_up) as distiller:
        distiller.resume([seen(n) for n in pictures[1:]], count, GENERIC)  # the first one's original is gone
        assert poll(lambda: bool(taken_up.given), PATIENCE_S)
        taken_up.show(distiller, count, 256)
    assert taken_up.given[0] == (pictures[1:], count)
    later = [n for n in taken_up.given[1][0] if n >= count]
    assert len(later) > KEPT // 2
