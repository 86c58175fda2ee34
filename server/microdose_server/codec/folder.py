"""The folder that a teacher ships in, with the bases of its students. No torch: the API needs bases alone.

    weights/<teacher>/teacher.safetensors   parameters of g_a, g_s and the hyperprior; preset in the metadata
                      discriminator.safetensors   of a teacher of stage 2, which it was trained against
                      meta.json             data, steps, command, results
                      hyper.onnx            the hyper-synthesis, the same for all students
                      <student>/            base.json student.onnx

A student's folder is its profile: what a publisher asks for, and `GET /v1/bases` lists.
"""

from importlib.resources import files
from pathlib import Path

from microdose import base as shared
from microdose.base import Descriptor, LoadedBase
from microdose.errors import NotFound
from microdose.manifest import HYPER_TYPE

SHIPPED = "medium"
STANDARD = "standard"
TEACHER, META, BASE = "teacher.safetensors", "meta.json", "base.json"
DISCRIMINATOR = "discriminator.safetensors"
STUDENT_GRAPH, HYPER_GRAPH = "student.onnx", "hyper.onnx"


def weights_folder(name: str = SHIPPED) -> Path:
    """Where the package keeps a teacher. Raises NotFound for a name that it does not ship."""
    folder = Path(str(files("microdose_server") / "weights" / name))
    if not (folder / TEACHER).is_file():
        raise NotFound(f"no teacher called {name!r} is shipped; look into {folder.parent}")
    return folder


def discriminator_file(folder: Path | None = None) -> Path:
    """The discriminator in a teacher's folder (the shipped one). Raises NotFound without one."""
    path = (folder or weights_folder()) / DISCRIMINATOR
    if not path.is_file():
        raise NotFound(
            f"no discriminator at {path}, as a teacher of stage 1 has none: leave MICRODOSE_DISTIL_BETA "
            "(--beta) at 0, or train a teacher of stage 2 with: microdose-server train --stage 2"
        )
    return path


def students_of(folder: Path | None = None) -> tuple[str, ...]:
    """The students with a base in a teacher's folder (the shipped one), by name."""
    folder = folder or weights_folder()
    return tuple(sorted(path.parent.name for path in folder.glob(f"*/{BASE}")))


def load_base(folder: Path | None = None, student: str = STANDARD) -> LoadedBase:
    """The base of a student in a teacher's folder (the shipped one), every byte verified.

    Raises NotFound without one, and says which there are.
    """
    folder = folder or weights_folder()
    own = folder / student
    if student not in students_of(folder):
        found = ", ".join(students_of(folder)) or "none"
        raise NotFound(
            f"{folder} holds no base of a student {student!r} (there: {found}); make it with: "
            "microdose-server distil"
        )

    def fetch(descriptor: Descriptor) -> bytes:
        of_all = descriptor.media_type == HYPER_TYPE
        return (folder / HYPER_GRAPH if of_all else own / STUDENT_GRAPH).read_bytes()

    return shared.load_base((own / BASE).read_bytes(), fetch)


def load_bases(folder: Path | None = None) -> dict[str, LoadedBase]:
    """The bases of all students in a teacher's folder (the shipped one), by student."""
    return {student: load_base(folder, student) for student in students_of(folder)}


def save_base(base: LoadedBase, folder: Path, student: str) -> None:
    """Write a student's base into its teacher's folder."""
    own = folder / student
    own.mkdir(parents=True, exist_ok=True)
    (folder / HYPER_GRAPH).write_bytes(base.hyper)
    (own / STUDENT_GRAPH).write_bytes(base.student)
    (own / BASE).write_bytes(base.document.to_bytes())
