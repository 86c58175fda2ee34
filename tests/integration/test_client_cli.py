"""The `microdose` command as people and scripts meet it: exit codes, one clear line, JSON."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.ids import new_id
from microdose.manifest import ByteCounts
from microdose.mds import write_mds
from microdose.problem import Problem, make_problem
from microdose.resources import DoseChoice, Frame, Job, JobState, Results, Sequence, SequenceState
from microdose_client.cli import build_parser, main
from microdose_client.frames import Form, Frames
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply
from tests.photos import photo
from tests.programs import microdose
from tests.shelves import KEY, HttpShelf, RedisShelf, publish
from tests.tiny_base import TinySequence, tiny_sequence

COMMANDS = ["push", "pull", "watch", "info", "export", "decode", "jobs", "cancel"]
JOB = Job(
    id="01jd3q8v6m4x2z7k9w5t0r1yhc",
    sequence="01jd3q8v6m4x2z7k9w5t0r1yhd",
    state=JobState.QUEUED,
    created="2026-01-02T03:04:05Z",  # type: ignore[arg-type]
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MICRODOSE_SERVER", "MICRODOSE_REDIS", "MICRODOSE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path / "cache"))


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


def serve_job(job: Job) -> Loopback:
    """A server that knows one job and nothing else."""

    def answer(request: Request) -> Reply:
        body = job.model_dump(mode="json")
        if request.path.startswith("/v1/jobs?"):
            return json_reply({"items": [body], "next": None})
        if request.path.startswith(f"/v1/jobs/{job.id}"):
            return json_reply(body)
        return problem_reply("not-found", "no such job")

    return Loopback(answer)


def serve_push(job: Job) -> Loopback:
    """A server that takes pictures and has done `job` at once."""
    counts = ByteCounts(latents=20, dose=10)
    results = Results(
        pictures=1, pixels=256, bytes=counts, bpp_total=0.94, dose_kind=DoseKind.FULL, seconds={}
    )
    opened = Sequence(
        id=job.sequence,
        profile="standard",
        dose=DoseChoice.AUTO,
        state=SequenceState.OPEN,
        created=job.created,
        results=results,
    )
    frame = Frame(n=0, digest=digest_of(b""), size=1, width=16, height=16)

    def answer(request: Request) -> Reply:
        if request.path.endswith("/frames"):
            return json_reply([])
        if "/frames/" in request.path:
            return Reply(201, frame.to_bytes())
        if request.path.endswith("/complete"):
            return Reply(202, JOB.to_bytes())
        return Reply(200, (job if "/jobs/" in request.path else opened).to_bytes())

    return Loopback(answer)


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
        ["jobs", "--limit", "0"],
        ["jobs", "--redis", "redis://x"],
    ],
)
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "usage: microdose" in capsys.readouterr().err


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


def test_what_a_server_says_does_not_steer_the_terminal() -> None:
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M)
    for n in range(3):
        frames.write(photo(n))
    with serve_push(JOB) as server:
        takes = server.answer

        def answer(request: Request) -> Reply:
            refused = request.path.endswith("/frames/1")
            return problem_reply("bad-picture", "too \x1b[31mred") if refused else takes(request)

        server.answer = answer
        with microdose("push", "--live", "-", MICRODOSE_SERVER=server.url) as process:
            _, err = process.communicate(stream.getvalue(), timeout=120)
    assert "left out: " in err.decode()
    assert "too \N{REPLACEMENT CHARACTER}[31mred" in err.decode()
    assert b"\x1b" not in err


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


def test_jobs_and_cancel(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_job(JOB) as server:
        assert main(["jobs", "--server", server.url]) == 0
        assert main(["cancel", JOB.id, "--server", server.url]) == 0
        assert main(["cancel", new_id(), "--server", server.url]) == 1
    captured = capsys.readouterr()
    line = f"{JOB.id} queued  sequence {JOB.sequence}  2026-01-02 03:04:05"
    assert captured.out.splitlines() == [line, line]
    assert captured.err == "microdose: no such job\n"


ENDS = [
    (JobState.SUCCEEDED, None, 0, "is published: 1 pictures, 30 bytes (latents 20, dose 10, headers 0)"),
    (
        JobState.FAILED,
        make_problem("job-deadline", "took more than 60 s"),
        1,
        "microdose: took more than 60 s",
    ),
    (JobState.CANCELLED, None, 1, f"microdose: job {JOB.id} ended as cancelled"),
]


@pytest.mark.parametrize(("state", "error", "code", "line"), ENDS)
def test_push_and_wait_tells_how_it_ended(
    state: JobState,
    error: Problem | None,
    code: int,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.png").write_bytes(b"the server's business")
    with serve_push(JOB.model_copy(update={"state": state, "error": error})) as server:
        assert main(["push", str(tmp_path / "a.png"), "--wait", "--server", server.url]) == code
    captured = capsys.readouterr()
    assert line in (captured.err if code else captured.out)


def test_push_without_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"the server's business")
    with serve_push(JOB) as server:
        assert main(["push", str(tmp_path / "a.png"), "--server", server.url]) == 0
    assert capsys.readouterr().out == f"sequence {JOB.sequence} is queued as job {JOB.id}\n"


def test_no_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    with Loopback(lambda request: json_reply({"items": []})) as server:
        assert main(["jobs", "--server", server.url]) == 0
        assert main(["jobs", "--server", server.url, "--json"]) == 0
    assert capsys.readouterr().out == "no jobs\n[]\n"


def test_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "microdose_client", "pull"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: microdose" in done.stderr


def test_the_parser_knows_exactly_the_documented_commands() -> None:
    text = build_parser().format_help()
    assert all(f"    {command} " in text for command in COMMANDS)
