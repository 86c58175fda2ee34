"""The examples of the README and of docstrings, run as they stand against a real server."""

import ast
import asyncio
import inspect
import re
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from microdose.resources import Job, Page
from microdose_client import AsyncClient, Client
from microdose_server.store.apikeys import Scope
from microdose_server.store.lock import poll
from tests.photos import encode, photo
from tests.served import Served

README = (Path(__file__).parents[2] / "README.md").read_text()
IN_README = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PATIENCE_S = 60


def example(what: object) -> str:
    """The indented block of a docstring."""
    (block,) = re.findall(r"(?:^ {4}.*\n)+", inspect.getdoc(what) or "", re.MULTILINE)
    return textwrap.dedent(block)


@pytest.fixture
def holiday(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two pictures to push, and a worker that publishes whatever is pushed."""
    (tmp_path / "holiday").mkdir()
    for n in range(2):
        (tmp_path / "holiday" / f"{n}.png").write_bytes(encode(photo(n)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path / "cache"))
    over = threading.Event()

    def work() -> None:
        def publish() -> bool:
            jobs = Page[Job].model_validate_json(served.http.get("/v1/jobs").content).items
            if jobs:
                served.publish(jobs[0], pictures=2)
            return bool(jobs) or over.is_set()

        poll(publish, PATIENCE_S)

    worker = threading.Thread(target=work)
    worker.start()
    yield
    over.set()
    worker.join()


def run(code: str, served: Served, **names: Any) -> None:
    """Execute an example with the addresses of this test in place of those it shows; it may await."""
    key = served.token(Scope.PUBLISH)
    code = code.replace("http://127.0.0.1:8710", served.url).replace("md_...", key)
    program = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    coroutine = eval(program, {"Client": Client, "AsyncClient": AsyncClient, **names})
    if coroutine is not None:
        asyncio.run(coroutine)


@pytest.mark.parametrize(
    "code", [IN_README[0], example(Client), example(AsyncClient)], ids=["README", "Client", "AsyncClient"]
)
def test_push_and_play(code: str, served: Served, holiday: None, capsys: pytest.CaptureFixture[str]) -> None:
    run(code, served)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 2)[:2] for line in lines] == [["0", "0.png"], ["1", "1.png"]]
    assert "(24, 41, 3)" in lines[1]


def test_follow_in_the_readme(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    sequence = served.publish(served.queued()).sequence
    run(IN_README[1].replace("01jd3q8v6m4x2z7k9w5t0r1yhc", sequence), served)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("2 0 ")


def test_follow_in_its_docstring(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequence = served.publish(served.queued()).sequence
    key = served.token(Scope.VIEW)
    set_up = f"async with AsyncClient({served.url!r}, key={key!r}, cache_dir={str(tmp_path)!r}) as client:\n"
    code = set_up + textwrap.indent(example(AsyncClient.follow), "    ")
    run(code, served, sequence=sequence)
    assert capsys.readouterr().out.startswith("2 0 ")


def test_nothing_is_left_out() -> None:
    assert len(IN_README) == 2
