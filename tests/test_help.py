"""Every command explains itself: each option in words, an example, and a mode for programs."""

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from microdose_client.cli import build_parser
from microdose_server import cli

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands below a parser, without those that only group others."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from subcommands(command)
            return
    yield parser.prog, parser


def declared(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the options of a tool that is loaded only when it is called."""
    if isinstance(parser, cli.Command) and parser.module:
        import_module(parser.module).add_arguments(parser)
    return parser


def benchmark(name: str) -> argparse.ArgumentParser:
    """The command line of a program in benchmarks/."""
    parser = import_module(f"benchmarks.{name}").parser()
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


COMMANDS = dict([*subcommands(build_parser()), *subcommands(cli.parser())])
PROGRAMS = sorted(file.stem for file in BENCHMARKS.glob("*.py"))


def test_they_are_found() -> None:
    assert {"microdose push", "microdose-server keys create", "microdose-server train"} <= set(COMMANDS)
    assert "fanout" in PROGRAMS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    assert_explained(declared(COMMANDS[name]), name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_benchmark_explains_itself(name: str) -> None:
    assert_explained(benchmark(name), f"benchmarks/{name}.py")


def assert_explained(parser: argparse.ArgumentParser, name: str) -> None:
    assert parser.description
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    assert [action.dest for action in shown if not action.help] == []
    assert any("--json" in action.option_strings for action in shown)
    assert f"{name} " in (parser.epilog or "").partition("example:")[2]
