from datetime import UTC, datetime

import numpy as np
import pytest

from microdose.ids import new_id
from microdose.resources import DoseAim, DoseChoice, Sequence, SequenceState
from microdose_server.codec.encode import Encoder
from microdose_server.jobs.aiming import aim, needs_painting
from tests.photos import photo
from tests.tiny_encoder import TinyEncoder


def test_the_original_is_a_target_that_nobody_paints() -> None:
    encoder = TinyEncoder()
    _, y_hat = encoder.analyse(photo(0))
    target = aim(encoder, y_hat, photo(0), painted=False)
    assert target.y_hat is y_hat
    assert np.array_equal(target.pixels, photo(0))
    assert target.tower is None
    assert encoder.painted == 0


def test_the_teachers_picture_comes_with_its_features(tiny_encoder: Encoder) -> None:
    encoded = tiny_encoder.encode(photo(0))
    target = aim(tiny_encoder, encoded.y_hat, photo(0), painted=True)
    assert target.y_hat is encoded.y_hat
    assert np.array_equal(target.pixels, encoded.x_hat)
    assert target.tower is not None
    assert np.array_equal(target.tower, encoded.tower)


@pytest.mark.parametrize(
    ("towards", "dose", "refine", "needed"),
    [
        (DoseAim.TEACHER, DoseChoice.AUTO, None, True),
        (DoseAim.TEACHER, DoseChoice.NONE, None, False),
        (DoseAim.TEACHER, DoseChoice.NONE, 12, True),
        (DoseAim.ORIGINALS, DoseChoice.AUTO, 12, False),
        (DoseAim.ORIGINALS, DoseChoice.NONE, None, False),
    ],
)
def test_only_what_aims_at_the_teacher_needs_painting(
    towards: DoseAim, dose: DoseChoice, refine: int | None, needed: bool
) -> None:
    wish = Sequence(
        id=new_id(),
        profile="standard",
        dose=dose,
        aim=towards,
        refine=refine,
        state=SequenceState.RUNNING,
        created=datetime.now(UTC),
    )
    assert needs_painting(wish) is needed
