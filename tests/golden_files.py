"""The golden files: bytes of every format version, and the bases they were made for."""

from pathlib import Path

from microdose.base import Descriptor, LoadedBase, load_base
from microdose.digest import digest_of

FOLDER = Path(__file__).parent / "golden"
VERSIONS = ("v1", "v1.1", "v1.2")
"""All are of one wire version. v1.1: doses got changes in place of tensors, and parents. v1.2: full doses are
coded by channel.
"""
SHIPPED = "shipped"
"""Of a base `medium-live` that was shipped once, and replaced: a corner of a photograph, and a full dose."""


def golden(version: str, name: str) -> bytes:
    """One of the files."""
    return (FOLDER / version / name).read_bytes()


def golden_base(version: str) -> LoadedBase:
    """The base of a version's files."""
    graphs = {
        digest_of(graph): graph for graph in (golden(version, "student.onnx"), golden(version, "hyper.onnx"))
    }

    def fetch(descriptor: Descriptor) -> bytes:
        return graphs[descriptor.digest]

    return load_base(golden(version, "base.json"), fetch)
