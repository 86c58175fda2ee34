"""Rules of safety that a program can check in the source and in what is installed."""

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [path for top in ("shared", "client", "server") for path in sorted((ROOT / top).rglob("*.py"))]

CODE_IN_DATA = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml"}
"""Modules whose readers may run what they read."""
READS_WITH_AN_ALLOW_LIST = ROOT / "server/microdose_server/training/packages.py"
RUNS_CODE = {"eval", "exec", "compile", "__import__"}

FLOORS = {
    "h11": ("0.16", "CVE-2025-43859: request smuggling by chunked bodies"),
    "onnx": ("1.22", "CVE-2026-27489, CVE-2026-34445, CVE-2026-44512: reads outside, models that crash"),
    "pillow": ("12.3", "CVE-2026-55379, PYSEC-2026-2253 to 2257: decoders that write out of bounds"),
    "python-multipart": (
        "0.0.31",
        "CVE-2026-40347, CVE-2026-42561, GHSA-v9pg-7xvm-68hf: forms that take long, or all memory",
    ),
    "starlette": ("1.5.1", "CVE-2025-62727, CVE-2026-48710, CVE-2026-54283: forms and ranges that hang"),
    "torch": ("2.10", "CVE-2025-32434, CVE-2026-24747: code in weights, even with weights_only"),
}
"""The lowest version without a known hole that the product touches."""


@pytest.mark.parametrize("name", FLOORS)
def test_no_version_with_a_known_hole_can_be_installed(name: str) -> None:
    floor, hole = FLOORS[name]
    assert Version(importlib.metadata.version(name)) >= Version(floor), hole
    extras = PROJECT["optional-dependencies"]
    stated = [Requirement(line) for line in (*PROJECT["dependencies"], *extras["server"])]
    (requirement,) = (each for each in stated if each.name == name)
    lowest = min(Version(each.version) for each in requirement.specifier if each.operator in (">=", "=="))
    assert lowest >= Version(floor), hole


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """A keyword argument's literal value; None where there is none."""
    return next((ast.literal_eval(each.value) for each in call.keywords if each.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_is_read_can_bring_code(path: Path) -> None:
    for node in nodes(path):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]}
        assert path == READS_WITH_AN_ALLOW_LIST or not names & CODE_IN_DATA
    for called, call in calls(path):
        assert called not in RUNS_CODE
        assert keyword(call, "shell") is not True
        assert keyword(call, "allow_pickle") is not True
        if called == "torch.load":
            assert keyword(call, "weights_only") is True
        if called in ("rq.Queue", "rq.Worker", "rq.job.Job.fetch"):
            assert any(each.arg == "serializer" for each in call.keywords)


def test_the_only_unpickler_knows_nothing_but_arrays() -> None:
    text = READS_WITH_AN_ALLOW_LIST.read_text()
    assert not re.search(r"pickle\.loads?\b", text)
    assert "def find_class" in text
