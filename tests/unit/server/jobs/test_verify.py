import numpy as np
import pytest

from microdose.dose import Dose, DoseKind, pack_dose
from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, DoseMismatch, NotReproducible
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_server.jobs.verify import Verifier
from tests.tiny_base import tiny_base, tiny_dose, tiny_segment

BASE = tiny_base()
SEGMENT = tiny_segment(BASE)
Y_HAT = decode_picture(parse_segment(SEGMENT), BASE, hyper_from(Graph(BASE.hyper, 1)))


@pytest.mark.parametrize("doses", [(), (tiny_dose(BASE),)], ids=["generic", "dosed"])
def test_what_was_encoded_passes(doses: tuple[bytes, ...]) -> None:
    Verifier(BASE, *doses, threads=1).check(0, SEGMENT, Y_HAT)


def test_other_latents_than_the_encoders_do_not() -> None:
    with pytest.raises(NotReproducible, match="picture 7"):
        Verifier(BASE, threads=1).check(7, SEGMENT, np.roll(Y_HAT, 1, axis=2))


def test_damaged_bytes_do_not() -> None:
    with pytest.raises(CorruptStream):
        Verifier(BASE, threads=1).check(0, SEGMENT[:-1], Y_HAT)


def test_a_dose_of_another_base_does_not() -> None:
    other = tiny_base(1)
    dose = pack_dose(Dose(other.prefix, 0, DoseKind.FULL, ()), other)
    with pytest.raises(DoseMismatch):
        Verifier(BASE, dose, threads=1)
