import math
import socket
import time
from collections.abc import Callable

from benchmarks.parts.requests import Scene
from benchmarks.parts.watched import Batch, Found, kinds, watch


def test_what_breaks_is_named_by_its_number(scene_at: Callable[[int], Scene]) -> None:
    """Nobody is at the port, so that every request crashes, and no document."""
    scene = scene_at(1)
    names = [kind.name for kind in kinds(scene)]
    start = names.index("request: manifest") - 5
    found = watch(Batch(7, start, start + 8, scene, math.inf))
    assert found.inputs == 8
    assert [crash["input"] for crash in found.crashes] == [start + 5, start + 6, start + 7]
    assert all(crash["seed"] == 7 and "nobody listens" in crash["why"] for crash in found.crashes)
    assert found.crashes[0]["why"].startswith("request: manifest: Crash")
    assert found.peak_mb > 0


def test_a_hang_is_one_that_happens_again(scene_at: Callable[[int], Scene]) -> None:
    """Somebody listens, but never answers; a busy machine would have answered the second time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scene = scene_at(silent.getsockname()[1])
        start = [kind.name for kind in kinds(scene)].index("request: sequences")
        found = watch(Batch(7, start, start + 1, scene, math.inf, hang_s=1.0))
    assert (found.inputs, found.crashes) == (1, [])
    assert [hang["input"] for hang in found.hangs] == [start]


def test_nothing_is_begun_after_its_time(scene_at: Callable[[int], Scene]) -> None:
    assert watch(Batch(7, 0, 8, scene_at(1), time.time())) == Found()
