"""The house rules that a program can check: who imports whom, which versions."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

HEAVY = {"torch", "torchvision", "compressai", "fastapi", "starlette", "uvicorn", "rq", "av", "matplotlib"}
FORBIDDEN = {
    "microdose": HEAVY | {"microdose_client", "microdose_server", "httpx", "redis", "rich"},
    "microdose_client": HEAVY | {"microdose_server"},
}
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("package", FORBIDDEN)
def test_arrows_in_a_fresh_interpreter(package: str) -> None:
    path = [str(ROOT / folder) for folder in ("shared", "server", "client")]
    program = f"import sys; sys.path[:0] = {path}\n{IMPORT_ALL}"
    done = subprocess.run(
        [sys.executable, "-c", program, package], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert package in loaded
    assert not loaded & FORBIDDEN[package]


@pytest.mark.parametrize("process", ["api.server", "jobs.worker", "up"])
def test_what_stays_running_never_loads_torch(process: str) -> None:
    """Only a job's process does, which ends with the job; it is more than all the rest takes."""
    program = f"import sys, microdose_server.{process}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_server_never_imports_the_client() -> None:
    guilty = [
        file.relative_to(ROOT)
        for file in (ROOT / "server").rglob("*.py")
        if any(name.partition(".")[0] == "microdose_client" for name in imports(ast.parse(file.read_text())))
    ]
    assert not guilty


def imports(tree: ast.AST) -> list[str]:
    """The modules that a source file names in its imports."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_versions_agree() -> None:
    version = PROJECT["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version == importlib.metadata.version("microdose")


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["server"], *extras["dev"]]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in wanted}  # type: ignore[index]
    assert names <= set(pins)
    for exact in (requirement for requirement in wanted if "==" in requirement):
        name, version = exact.split("==")
        assert pins[name] == version
