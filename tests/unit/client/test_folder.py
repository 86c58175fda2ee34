"""A folder that is watched: what is whole, what comes next, what came too late."""

import logging
from pathlib import Path

import pytest

from microdose.errors import BadUpload
from microdose_client.folder import SETTLE_S, Arrivals, Stamp, watch

OLD, NEW = Stamp(10, 1), Stamp(20, 2)


def test_a_picture_is_taken_once_it_stands_still() -> None:
    arrivals = Arrivals()
    assert arrivals.look({"a.png": OLD}, 0.0) == []
    assert arrivals.look({"a.png": NEW}, SETTLE_S) == []  # it has grown
    assert arrivals.look({"a.png": NEW}, 1.9 * SETTLE_S) == []
    assert arrivals.look({"a.png": NEW}, 2 * SETTLE_S) == ["a.png"]
    assert arrivals.look({"a.png": OLD}, 9 * SETTLE_S) == []  # whatever becomes of it


def test_pictures_come_in_natural_order_and_wait_for_the_one_before() -> None:
    arrivals = Arrivals()
    names = ["a10.png", "a9.png", "a1.png"]
    assert arrivals.look(dict.fromkeys(names, OLD), 0.0) == []
    grown = {"a10.png": OLD, "a9.png": NEW, "a1.png": OLD}
    assert arrivals.look(grown, SETTLE_S) == ["a1.png"]
    assert arrivals.look(grown, 2 * SETTLE_S) == ["a9.png", "a10.png"]


def test_names_that_read_alike_are_two_pictures() -> None:
    arrivals = Arrivals()
    found = {"a1.png": OLD, "a01.png": OLD}
    arrivals.look(found, 0.0)
    assert arrivals.look(found, SETTLE_S) == ["a01.png", "a1.png"]


def test_what_comes_too_late_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    arrivals = Arrivals()
    arrivals.look({"b.png": OLD}, 0.0)
    assert arrivals.look({"b.png": OLD}, SETTLE_S) == ["b.png"]
    for _ in range(2):
        assert arrivals.look({"a.png": OLD, "b.png": OLD}, 5 * SETTLE_S) == []
    (record,) = caplog.records
    assert record.getMessage() == "left out, for later names have gone before: a.png"


def test_a_push_that_goes_on_begins_behind_the_last_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    arrivals, found = Arrivals("a9.png"), {"a8.png": OLD, "a9.png": OLD, "a10.png": OLD}
    arrivals.look(found, 0.0)
    assert arrivals.look(found, SETTLE_S) == ["a10.png"]
    assert not caplog.records


def test_work_in_progress_is_no_picture(tmp_path: Path) -> None:
    for name in (".a.png", "b.png.part", "notes.txt", "empty.png"):
        (tmp_path / name).write_bytes(b"" if name == "empty.png" else b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to("/nowhere")
    pictures = watch(tmp_path)
    (tmp_path / "c.png").write_bytes(b"x")
    assert next(pictures) == tmp_path / "c.png"


def test_a_folder_that_goes_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match="cannot watch"):
        next(watch(tmp_path / "nowhere"))
