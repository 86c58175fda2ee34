"""The nginx of docker/nginx.conf as a process; a test that needs it is skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from microdose.errors import Unavailable
from microdose_server.evaluate import front
from microdose_server.settings import Settings

DOCKER = Path(__file__).parents[1] / "docker"


def nginx() -> str:
    """The path of the program."""
    try:
        return front.nginx()
    except Unavailable as error:
        pytest.skip(str(error))


@contextmanager
def door(folder: Path, api: str, settings: Settings, tls: front.Tls | None = None) -> Iterator[str]:
    """Run it before the API at a URL, whose `settings` say where the blobs are; yields its own URL."""
    nginx()
    with front.front(DOCKER, folder, front.Behind(api, settings.data_dir / "blobs"), tls) as url:
        yield url
