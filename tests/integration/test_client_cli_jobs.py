"""What `microdose push`, `jobs` and `cancel` say of what a server does."""

import io
import signal
from pathlib import Path
from threading import Event

import pytest

from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.ids import new_id
from microdose.manifest import ByteCounts
from microdose.problem import Problem, make_problem
from microdose.resources import DoseChoice, Frame, Job, JobState, Results, Sequence, SequenceState
from microdose_client.cli import main
from microdose_client.frames import Form, Frames
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply
from tests.photos import photo
from tests.programs import microdose

pytestmark = pytest.mark.usefixtures("no_settings")

JOB = Job(
    id="01jd3q8v6m4x2z7k9w5t0r1yhc",
    sequence="01jd3q8v6m4x2z7k9w5t0r1yhd",
    state=JobState.QUEUED,
    created="2026-01-02T03:04:05Z",  # type: ignore[arg-type]
)


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


def test_a_push_that_is_interrupted_has_named_its_sequence(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"the server's business")
    asked, ended = Event(), Event()
    with serve_push(JOB) as server:
        takes = server.answer

        def answer(request: Request) -> Reply:
            if "/frames/" not in request.path:
                return takes(request)
            asked.set()
            return Reply(201, length=1, silence=ended)

        server.answer = answer
        arguments = ("push", str(tmp_path / "a.png"), "--json")
        with microdose(*arguments, MICRODOSE_SERVER=server.url) as process:
            assert asked.wait(120)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
            ended.set()
    assert (process.returncode, out) == (1, b"")
    assert JOB.sequence in err.decode()
    assert err.decode().endswith("microdose: interrupted\n")


def test_no_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    with Loopback(lambda request: json_reply({"items": []})) as server:
        assert main(["jobs", "--server", server.url]) == 0
        assert main(["jobs", "--server", server.url, "--json"]) == 0
    assert capsys.readouterr().out == "no jobs\n[]\n"
