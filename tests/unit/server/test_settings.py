import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from microdose_server.settings import Limits, Settings


def test_the_environment_sets_every_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICRODOSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MICRODOSE_LIMITS__MAX_FRAMES", "7")
    monkeypatch.setenv("REDIS_URL", "redis://bus")
    settings = Settings()
    assert (settings.data_dir, settings.limits.max_frames, settings.redis_url) == (tmp_path, 7, "redis://bus")


def test_its_own_redis_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://shared")
    monkeypatch.setenv("MICRODOSE_REDIS_URL", "redis://own")
    assert Settings().redis_url == "redis://own"


@pytest.mark.parametrize("seconds", [1.5, math.inf])
def test_a_child_process_gets_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        redis_url="unix:///a b/c.sock",
        device="cuda:1",
        limits=Limits(max_pixels=5),
        distil_steps=3,
        distil_seconds=seconds,
        distil_beta=0.25,
    )
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


NONSENSE = [
    {"port": 70000},
    {"job_attempts": 0},
    {"distil_seconds": 0},
    {"distil_beta": -0.1},
    {"limits": {"max_frames": 0}},
    {"limits": {"max_frames": 10_001}},
    {"limits": {"max_pixels": 40_000_001}},
    {"limits": {"max_picture_bytes": 2**26 + 1}},
]


@pytest.mark.parametrize("change", NONSENSE)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(change)
