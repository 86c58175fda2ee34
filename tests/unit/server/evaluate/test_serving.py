"""The API as a process."""

from pathlib import Path

import httpx
import pytest

from microdose.errors import Unavailable
from microdose_server.evaluate.serving import serving
from tests.valkey import redis_url

__all__ = ["redis_url"]


def test_it_serves_as_long_as_it_is_wanted(redis_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, redis_url) as (url, pid):
        assert httpx.get(f"{url}/livez").status_code == 200
        assert Path(f"/proc/{pid}").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez")


def test_one_that_does_not_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"api\.log says why"), serving(tmp_path, f"unix://{tmp_path}/none"):
        pass
    assert "no Redis at" in (tmp_path / "api.log").read_text()
