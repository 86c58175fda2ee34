"""What the documents promise is there: commands with their options, settings, targets, names, links."""

import argparse
import ast
import importlib
import os
import re
import shlex
from pathlib import Path

import pytest

from microdose_client.cli import build_parser
from microdose_server import cli
from microdose_server.settings import Limits, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHER_VARIABLES = {
    *("MICRODOSE_SERVER", "MICRODOSE_KEY", "MICRODOSE_CACHE", "MICRODOSE_LPIPS"),
    *("MICRODOSE_CERTIFICATE", "MICRODOSE_CERTIFICATE_KEY"),
}
"""Those that are no settings: of the client, of what both ends fetch, and of docker/tls.yml."""
OURS = r"(?<!`)`((?:benchmarks/\w+\.py|microdose-server|microdose)\s[^`]*\s[^`]*)`(?!`)"

document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of every command in a document: all in its shell blocks, ours with options in its text."""
    shell = re.sub(r"\\\n\s*", " ", "".join(blocks("sh", text)))
    lines = [*shell.splitlines(), *(" ".join(line.split()) for line in re.findall(OURS, text))]
    found = [shlex.split(re.split(r" [|>] ", line)[0], comments=True) for line in lines]
    return [words[next(n for n, word in enumerate(words) if "=" not in word) :] for words in found if words]


def parser_of(program: str) -> argparse.ArgumentParser | None:
    """The command line of a program of ours."""
    if program.startswith("benchmarks/"):
        made = importlib.import_module(program.removesuffix(".py").replace("/", ".")).parser()
        assert isinstance(made, argparse.ArgumentParser)
        return made
    return {"microdose": build_parser, "microdose-server": cli.parser}.get(program, lambda: None)()


def test_commands_are_found() -> None:
    programs = {words[0] for path in DOCUMENTS for words in commands(path.read_text())}
    assert {"microdose", "microdose-server", "benchmarks/fanout.py", "make"} <= programs


@document
def test_commands_parse(document: Path) -> None:
    for program, *arguments in commands(document.read_text()):
        if (parser := parser_of(program)) is not None and arguments:
            parser.parse_args(arguments)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_are_programs(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env python\n")


@document
def test_settings_exist(document: Path) -> None:
    names = {f"MICRODOSE_{name.upper()}" for name in Settings.model_fields}
    names |= {f"MICRODOSE_LIMITS__{name.upper()}" for name in Limits.model_fields}
    assert set(re.findall(r"MICRODOSE_[A-Z_]*[A-Z]", document.read_text())) <= names | OTHER_VARIABLES


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z0-9-]+)", README)) <= set(targets)


def test_python_names_exist() -> None:
    for node in (node for example in blocks("python") for node in ast.walk(ast.parse(example))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@document
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    paths = re.findall(r"\b(?:shared|client|server|examples|benchmarks|docker)/[\w/.-]*\w", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing
