import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from microdose_server.logs import JsonLines, TextLines, about


def record(message: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("microdose_server.x", logging.WARNING, "x.py", 1, message, None, None)
    made.__dict__.update(more)
    return made


def test_a_json_line_says_what_it_is_about() -> None:
    with about(job="j", sequence="s"), about(attempt="2"):
        line = json.loads(JsonLines().format(record("slow", facts={"ms": 3.5})))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "microdose_server.x", "message": "slow",
        "job": "j", "sequence": "s", "attempt": "2", "ms": 3.5,
    }  # fmt: skip


def test_what_it_is_about_ends_with_the_block() -> None:
    with about(job="j"):
        pass
    assert "job" not in json.loads(JsonLines().format(record("over")))


def test_threads_do_not_share_it() -> None:
    with about(job="j"), ThreadPoolExecutor(1) as pool:
        assert "job" not in json.loads(pool.submit(JsonLines().format, record("elsewhere")).result())


def test_an_error_stays_on_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        text = JsonLines().format(record("it failed", exc_info=sys.exc_info()))
    assert "\n" not in text
    assert "ValueError: two\nlines" in json.loads(text)["error"]


def test_a_text_line_ends_with_what_it_is_about() -> None:
    with about(request="r-1"):
        assert TextLines().format(record("it failed")).endswith("microdose_server.x: it failed request=r-1")
