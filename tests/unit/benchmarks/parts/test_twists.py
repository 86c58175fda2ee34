from collections.abc import Callable
from random import Random

import pytest

from benchmarks.parts.asking import is_request
from benchmarks.parts.requests import Scene, requests
from benchmarks.parts.twists import hostile_request, shortly


def test_a_request_is_always_changed_alike_into_many_kinds(scene_at: Callable[[int], Scene]) -> None:
    for valid in requests(scene_at(1)).values():
        assert is_request(valid)
        assert not is_request(valid[:-1])
        made = [hostile_request(valid, Random(n)) for n in range(200)]
        assert made == [hostile_request(valid, Random(n)) for n in range(200)]
        assert len(set(made)) > 150
        assert 50 < sum(map(is_request, made)) < 200
        assert any(b"chunked" in data for data in made)


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("/a?since=1&wait=0", "/a?since=1&wait=0"),
        ("/a?wait=30&since=1", "/a"),
        ("/a?w%61it=%39", "/a"),
        ("/a?weight=9", "/a?weight=9"),
        ("//[?wait=9", "//["),
    ],
)
def test_no_request_asks_to_wait(target: str, left: str) -> None:
    assert shortly(f"GET {target} HTTP/1.1".encode()) == f"GET {left} HTTP/1.1".encode()
