"""What `benchmarks/fanout.py` measures: a server as docker-compose.yml has it, and a plain nginx beside it.

coded pictures --> Valkey, disk --> API --> nginx, the door --> viewers
                                            nginx, plain ----> viewers
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from microdose.base import LoadedBase
from microdose_server.codec.encode import Encoder
from microdose_server.evaluate.crowd import Crowd, Fetch
from microdose_server.evaluate.front import Behind, front, plain
from microdose_server.evaluate.scene import pink
from microdose_server.evaluate.serving import serving
from microdose_server.evaluate.station import Station
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect

TURNS = 2
"""How often each web server has its turn."""


class Plant:
    """Everything but the viewers: `api`, `door` and `plain` are URLs."""

    def __init__(self, stack: ExitStack, folder: Path, docker: Path) -> None:
        """Processes that end with the stack, with all data in `folder`; `docker`: where nginx.conf is."""
        valkey = stack.enter_context(EmbeddedValkey(folder))
        self.settings = Settings(data_dir=folder, redis_url=valkey.url)
        self.bus = stack.enter_context(connect(valkey.url, block_s=30))
        api = stack.enter_context(serving(folder, valkey.url))
        self.api = api.url
        blobs = folder / "blobs"
        self.door = stack.enter_context(front(docker, _made(folder / "door"), Behind(api.url, blobs)))
        self.plain = stack.enter_context(plain(_made(folder / "plain"), blobs / "sha256"))

    def on_the_air(self, base: LoadedBase, pictures: Sequence[bytes]) -> Station:
        """A new live sequence of coded pictures."""
        return Station(self.bus, self.settings, base, pictures)

    def keys(self, count: int) -> list[str]:
        """New keys."""
        return [ApiKeys(self.bus).create([Scope.VIEW])[1] for _ in range(count)]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def coded(encoder: Encoder, width: int, height: int, count: int) -> list[bytes]:
    """`count` segments of a camera that pans over noise with the spectrum of photographs."""
    scene = pink(2 * width, height)
    views = (np.ascontiguousarray(scene[:, n * width // count :][:, :width]) for n in range(count))
    return [encoder.analyse(view)[0] for view in views]


def throughput(
    plant: Plant, viewers: Crowd, keys: list[str], digests: Sequence[str], seconds: float
) -> tuple[float, float]:
    """Bytes per second from the door and from the plain nginx, which take turns."""
    door = {f"/v1/blobs/{digest}": digest for digest in digests}
    bare = {f"/{digest[7:9]}/{digest[7:]}": digest for digest in digests}
    size, spent = [0, 0], [0.0, 0.0]
    for turn in range(2 * TURNS):
        url, blobs = ((plant.door, door), (plant.plain, bare))[turn % 2]
        taken = viewers.fetch(Fetch(*address(url), blobs, seconds / TURNS, keys))
        size[turn % 2] += taken.size
        spent[turn % 2] += taken.seconds
    return size[0] / spent[0], size[1] / spent[1]


def address(url: str) -> tuple[str, int]:
    """Host and port of a server."""
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 80)
