"""The API and a relay as processes."""

from pathlib import Path

import httpx
import pytest

from microdose.errors import Unavailable
from microdose_server.evaluate.serving import relaying, serving
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.redis import connect
from tests.valkey import redis_url

__all__ = ["redis_url"]


def test_it_serves_as_long_as_it_is_wanted(redis_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, redis_url) as (url, pid):
        assert httpx.get(f"{url}/livez").status_code == 200
        assert Path(f"/proc/{pid}").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez")


def test_a_relay_reads_it(redis_url: str, tmp_path: Path) -> None:
    with connect(redis_url) as bus:
        _, key = ApiKeys(bus).create([Scope.VIEW])
    with serving(tmp_path, redis_url) as api:
        with relaying(tmp_path, api.url, key) as (url, _):
            assert httpx.get(f"{url}/readyz").status_code == 200
        with pytest.raises(Unavailable, match=r"relay\.log says why"), relaying(tmp_path, api.url, "md_no"):
            pass


def test_one_that_does_not_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"api\.log says why"), serving(tmp_path, f"unix://{tmp_path}/none"):
        pass
    assert "no Redis at" in (tmp_path / "api.log").read_text()
