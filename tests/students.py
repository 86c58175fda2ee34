"""Fresh students of the tiny teacher's shape."""

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.student import STUDENTS, LightStudent, Student, build_student
from microdose_server.codec.teacher import Generator

LATENT_CHANNELS = PRESETS["tiny"].latent_channels
LIGHT = sorted(STUDENTS.keys() - {"paper"})


def fresh(name: str = "tiny") -> Student:
    """A student of any preset."""
    return build_student(STUDENTS[name], Generator(PRESETS["tiny"]))


def light(name: str = "tiny") -> LightStudent:
    """A student that is small throughout."""
    student = fresh(name)
    assert isinstance(student, LightStudent)
    return student
