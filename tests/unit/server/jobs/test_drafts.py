"""What an attempt leaves of its pictures, and what the next one makes of that."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.resources import Frame
from microdose_server.jobs.aiming import aim
from microdose_server.jobs.drafts import Drafts
from microdose_server.store.blobs import originals
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import read_drafts
from tests.photos import photo
from tests.tiny_encoder import TinyEncoder

FRAME = Frame(n=0, digest=digest_of(b"frame"), size=5, width=96, height=64)
ENCODER = TinyEncoder()
SEGMENT, Y_HAT = ENCODER.analyse(photo(0))
MakeDrafts = Callable[[], Drafts]


@pytest.fixture
def drafts(bus: redis.Redis, tmp_path: Path) -> MakeDrafts:
    """The drafts of sequence s as the newest attempt finds them."""
    bus.set(keys.fence("s"), 1)
    return lambda: Drafts(bus, Attempt("j", "s", 1), ENCODER.base, originals(tmp_path))


@pytest.mark.parametrize("painted", [False, True])
def test_another_attempt_aims_at_the_same(drafts: MakeDrafts, tmp_path: Path, painted: bool) -> None:
    assert drafts().find(FRAME) is None
    drafts().keep(FRAME, SEGMENT)
    found = drafts().find(FRAME)
    assert found is not None
    assert found[0] == SEGMENT
    first, second = (aim(ENCODER, y_hat, photo(0), painted) for y_hat in (Y_HAT, found[1]))
    assert np.array_equal(first.y_hat, second.y_hat)
    assert np.array_equal(first.pixels, second.pixels)
    assert (first.tower is not None) is painted
    assert np.array_equal(np.asarray(first.tower), np.asarray(second.tower))
    assert set(originals(tmp_path).digests()) == {digest_of(SEGMENT)}


def test_a_draft_that_names_the_teachers_picture_is_used_all_the_same(
    bus: redis.Redis, drafts: MakeDrafts
) -> None:
    """As an earlier version left it."""
    drafts().keep(FRAME, SEGMENT)
    draft = json.loads(bus.hget(keys.drafts("s"), "0") or b"")
    bus.hset(keys.drafts("s"), "0", json.dumps(draft | {"picture": digest_of(b"picture")}))
    found = drafts().find(FRAME)
    assert found is not None
    assert found[0] == SEGMENT


def test_a_refined_picture_is_found_for_its_purpose_alone(drafts: MakeDrafts) -> None:
    ours, other = digest_of(b"ours"), digest_of(b"other")
    refined, y_hat = ENCODER.analyse(photo(1))
    drafts().keep(FRAME, SEGMENT)
    assert drafts().find_refined(FRAME, ours) is None
    drafts().keep_refined(FRAME, refined, ours)
    assert drafts().find_refined(FRAME, other) is None
    found, plain = drafts().find_refined(FRAME, ours), drafts().find(FRAME)
    assert found is not None
    assert found[0] == refined
    assert np.array_equal(found[1], y_hat)
    assert plain is not None
    assert plain[0] == SEGMENT


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_what_is_gone_or_damaged_is_made_anew(
    bus: redis.Redis,
    drafts: MakeDrafts,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path], object],
) -> None:
    drafts().keep(FRAME, SEGMENT)
    harm(originals(tmp_path).path(read_drafts(bus, "s")[0].segment))
    assert drafts().find(FRAME) is None
    assert "the draft of frame 0 is of no use" in caplog.text
