"""What an attempt leaves of its pictures, and what the next one makes of that."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.resources import Frame
from microdose_server.jobs.aiming import Aimed, aim
from microdose_server.jobs.drafts import Drafts
from microdose_server.store.blobs import originals
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import read_drafts
from tests.photos import photo
from tests.tiny_encoder import TinyEncoder

FRAME = Frame(n=0, digest=digest_of(b"frame"), size=5, width=96, height=64)
ENCODER = TinyEncoder()
MakeDrafts = Callable[[bool], Drafts]


@pytest.fixture
def drafts(bus: redis.Redis, tmp_path: Path) -> MakeDrafts:
    """The drafts of sequence s as the newest attempt finds them, with or without the teacher's pictures."""
    bus.set(keys.fence("s"), 1)
    return lambda painted: Drafts(bus, Attempt("j", "s", 1), ENCODER.base, originals(tmp_path), painted)


def keep(drafts: Drafts, painted: bool) -> Aimed:
    """Leave one picture, as it was coded for such doses."""
    made = aim(ENCODER, photo(0), painted)
    drafts.keep(FRAME, made)
    return made


@pytest.mark.parametrize("painted", [False, True])
def test_another_attempt_finds_what_was_kept(bus: redis.Redis, drafts: MakeDrafts, painted: bool) -> None:
    assert drafts(painted).find(FRAME, photo(0)) is None
    made = keep(drafts(painted), painted)
    found = drafts(painted).find(FRAME, photo(0))
    assert found is not None
    assert found.segment == made.segment
    assert np.array_equal(found.target.y_hat, made.target.y_hat)
    assert np.array_equal(found.target.pixels, made.target.pixels)
    draft = read_drafts(bus, "s")[0]
    assert (draft.picture is None) is not painted
    assert len(draft.blobs) == (2 if painted else 1)


def test_a_picture_that_nothing_aims_at_is_passed_over(drafts: MakeDrafts, tmp_path: Path) -> None:
    """As a version left it that painted every picture, even without a dose."""
    made = keep(drafts(True), painted=True)
    found = drafts(False).find(FRAME, photo(0))
    assert found is not None
    assert found.segment == made.segment
    assert np.array_equal(found.target.pixels, photo(0))


def test_a_picture_that_is_wanted_but_was_not_painted_is_made_anew(
    drafts: MakeDrafts, caplog: pytest.LogCaptureFixture
) -> None:
    keep(drafts(False), painted=False)
    assert drafts(True).find(FRAME, photo(0)) is None
    assert "the draft of frame 0 is of no use: it has no picture of the teacher's" in caplog.text


@pytest.mark.parametrize("part", ["segment", "picture"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_what_is_gone_or_damaged_is_made_anew(
    bus: redis.Redis, drafts: MakeDrafts, tmp_path: Path, part: str, harm: Callable[[Path], object]
) -> None:
    keep(drafts(True), painted=True)
    harm(originals(tmp_path).path(getattr(read_drafts(bus, "s")[0], part)))
    assert drafts(True).find(FRAME, photo(0)) is None
