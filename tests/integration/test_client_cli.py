"""The `microdose` command as people and scripts meet it: exit codes, one clear line, JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microdose.mds import write_mds
from microdose_client.cli import build_parser, main
from tests.shelves import KEY, HttpShelf, RedisShelf, publish
from tests.tiny_base import TinySequence, tiny_sequence

pytestmark = pytest.mark.usefixtures("no_settings")

COMMANDS = ["push", "pull", "watch", "info", "export", "decode", "jobs", "cancel"]


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(3)


@pytest.fixture
def shelf(sequence: TinySequence, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpShelf]:
    with HttpShelf() as shelf:
        publish(shelf, sequence)
        monkeypatch.setenv("MICRODOSE_SERVER", shelf.url)
        monkeypatch.setenv("MICRODOSE_KEY", KEY)
        yield shelf


@pytest.fixture
def mds(sequence: TinySequence, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.mds"
    path.write_bytes(write_mds(sequence.manifest, sequence.blobs))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    assert f"example:\n  microdose {command} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["push"],
        ["pull", "x"],
        ["push", "a.png", "--dose", "huge"],
        ["push", "a.png", "--aim", "moon"],
        ["push", "a.png", "--lmbda", "-1"],
        ["push", "a.png", "--lmbda", "nan"],
        ["push", "a.png", "--refine", "much"],
        ["jobs", "--limit", "0"],
        ["jobs", "--redis", "redis://x"],
    ],
)
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "usage: microdose" in capsys.readouterr().err


def test_a_live_push_refines_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "--live", "camera", "--refine", "12"]) == 1
    assert "--live takes no --refine" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--dose", "--aim", "--priority"])
def test_a_name_of_nothing_is_told_what_there_is(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "a.png", option, "moon"]) == 2
    told = capsys.readouterr().err
    assert f"argument {option}: 'moon' is none of " in told
    assert {"--dose": "full", "--aim": "teacher", "--priority": "normal"}[option] in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["pull", "x", "-o", "out", "--server", "http://127.0.0.1:1"], "'x' is not a sequence id"),
        (["info", "x", "--server", "localhost:8710"], "give a URL like"),
        (["info", "x", "--server", "http://no..host"], "give a URL like"),
        (["info", "x", "--server", "http://xn--a"], "give a URL like"),
        (["info", "x" * 300], "File name too long"),
        (["push", "x" * 300], "File name too long"),
        (["info", "x", "--redis", "nonsense"], "not a Redis URL"),
        (["info", "x", "--redis", "redis://no..host"], "not a Redis URL"),
        (["info", "x", "--redis", "redis://localhost?spin=1"], "not a Redis URL"),
        (["push", "/nowhere/a.png"], "/nowhere/a.png does not exist"),
        (["decode", "/nowhere/a.mds", "-o", "out"], "/nowhere/a.mds"),
        (["push", __file__, "--resume", "x", "--server", "http://127.0.0.1:1"], "not a sequence id"),
    ],
)
def test_failure_is_1_and_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("microdose: ")
    assert words in line


def test_pull_prints_totals(
    shelf: HttpShelf, sequence: TinySequence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", sequence.manifest.sequence, "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert f"3 pictures in {tmp_path / 'out'}, {sequence.manifest.bytes.total} bytes" in captured.out
    assert "bpp with everything counted" in captured.out
    assert "decoding 3/3" in captured.err
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_a_name_cannot_steer_the_terminal(
    shelf: HttpShelf, sequence: TinySequence, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(shelf, sequence, name="\x1b[2Jfine")
    assert main(["info", sequence.manifest.sequence]) == 0
    assert "name      \N{REPLACEMENT CHARACTER}[2Jfine\n" in capsys.readouterr().out


def test_pull_straight_from_redis(
    redis_url: str, sequence: TinySequence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RedisShelf(redis_url) as shelf:
        publish(shelf, sequence)
        argv = ["pull", sequence.manifest.sequence, "-o", str(tmp_path / "out"), "--redis", shelf.url()]
        assert main(argv) == 0
    assert "3 pictures" in capsys.readouterr().out


def test_a_wrong_key_is_one_line(
    shelf: HttpShelf, sequence: TinySequence, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", sequence.manifest.sequence, "--key", "md_other_key"]) == 1
    assert capsys.readouterr().err == "microdose: this key is not known here\n"


def test_json_is_all_there_is_on_stdout(
    shelf: HttpShelf, sequence: TinySequence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = sequence.manifest.sequence, tmp_path / "out"
    assert main(["pull", name, "-o", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    pulled = json.loads(captured.out)
    assert pulled["info"]["pictures"] == 3
    assert [Path(file).parent for file in pulled["files"]] == [out] * 3
    assert main(["info", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pulled["info"]


def test_export_info_decode(
    shelf: HttpShelf, sequence: TinySequence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.mds"
    assert main(["export", sequence.manifest.sequence, "-o", str(path)]) == 0
    assert main(["info", str(path)]) == 0
    assert main(["decode", str(path), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert f"wrote {path}, {path.stat().st_size} bytes" in out
    assert f"sequence  {sequence.manifest.sequence}" in out
    assert f"3 pictures in {tmp_path / 'out'}" in out


def test_a_damaged_file_is_one_line(mds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(mds.read_bytes())
    data[-1] ^= 1
    mds.write_bytes(data)
    assert main(["decode", str(mds), "-o", str(tmp_path / "out")]) == 1
    assert "have the digest" in capsys.readouterr().err.splitlines()[-1]


def test_an_output_that_cannot_be_written_is_one_line(mds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", str(mds), "-o", str(mds)]) == 1
    assert capsys.readouterr().err.startswith(f"microdose: cannot write {mds}")


def test_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "microdose_client", "pull"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: microdose" in done.stderr


def test_the_parser_knows_exactly_the_documented_commands() -> None:
    text = build_parser().format_help()
    assert all(f"    {command} " in text for command in COMMANDS)
