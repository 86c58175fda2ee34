"""nginx, as far as `tests/integration/test_front.py` does not say what it does."""

from pathlib import Path

import httpx
import pytest

from microdose.errors import Unavailable
from microdose_server.evaluate.front import nginx, plain
from tests import nginx as installed


def test_the_plain_one_sends_files_to_anybody(tmp_path: Path) -> None:
    installed.nginx()
    files = tmp_path / "files"
    files.mkdir()
    (files / "a").write_bytes(b"bytes")
    with plain(tmp_path, files) as url:
        assert httpx.get(f"{url}/a").content == b"bytes"
        assert httpx.get(f"{url}/b").status_code == 404


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    installed.nginx()
    with (
        pytest.raises(Unavailable, match=r'nginx did not start: .*"root"'),
        plain(tmp_path, Path("no{}such")),
    ):
        pass


def test_where_there_is_none_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("microdose_server.evaluate.front.PLACES", ("/nowhere",))
    with pytest.raises(Unavailable, match="apt-get install nginx-light"):
        nginx()
