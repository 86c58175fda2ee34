"""The folder that a teacher ships in, and the base beside it. No torch here: the API needs the base alone.

::

    weights/<name>/teacher.safetensors   parameters of g_a, g_s and the hyperprior; preset in the metadata
                   meta.json             data, steps, command, results
                   base.json student.onnx hyper.onnx
"""

from importlib.resources import files
from pathlib import Path

from microdose import base as shared
from microdose.base import Descriptor, LoadedBase
from microdose.errors import NotFound
from microdose.manifest import HYPER_TYPE, STUDENT_TYPE

SHIPPED = "medium"
TEACHER, META, BASE = "teacher.safetensors", "meta.json", "base.json"
GRAPHS = {STUDENT_TYPE: "student.onnx", HYPER_TYPE: "hyper.onnx"}


def weights_folder(name: str = SHIPPED) -> Path:
    """Where the package keeps a teacher. Raises NotFound for a name that it does not ship."""
    folder = Path(str(files("microdose_server") / "weights" / name))
    if not (folder / TEACHER).is_file():
        raise NotFound(f"no teacher called {name!r} is shipped; look into {folder.parent}")
    return folder


def load_base(folder: Path | None = None) -> LoadedBase:
    """The base of a teacher's folder (the shipped one), every byte verified. Raises NotFound without one."""
    folder = folder or weights_folder()
    if not (folder / BASE).is_file():
        raise NotFound(f"{folder} holds no base; make it with: microdose-server distil")

    def fetch(descriptor: Descriptor) -> bytes:
        return (folder / GRAPHS[descriptor.media_type]).read_bytes()

    return shared.load_base((folder / BASE).read_bytes(), fetch)


def save_base(base: LoadedBase, folder: Path) -> None:
    """Write a base beside its teacher."""
    (folder / BASE).write_bytes(base.document.to_bytes())
    (folder / GRAPHS[STUDENT_TYPE]).write_bytes(base.student)
    (folder / GRAPHS[HYPER_TYPE]).write_bytes(base.hyper)
