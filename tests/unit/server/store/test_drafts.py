from collections.abc import Callable

import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.errors import Fenced
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import (
    Draft,
    read_checkpoint,
    read_drafts,
    write_checkpoint,
    write_draft,
)

ONE, OTHER = digest_of(b"one"), digest_of(b"other")
DRAFT = Draft(frame=ONE, base=OTHER, segment=ONE)


@pytest.fixture
def attempt(bus: redis.Redis) -> Attempt:
    """The newest of a sequence."""
    bus.set(keys.fence("s"), 3)
    return Attempt("j", "s", 3)


def test_they_are_found_again(bus: redis.Redis, attempt: Attempt) -> None:
    assert (read_drafts(bus, "s"), read_checkpoint(bus, "s")) == ({}, None)
    write_draft(bus, attempt, 7, DRAFT)
    assert write_checkpoint(bus, attempt, ONE) is None
    assert write_checkpoint(bus, attempt, OTHER) == ONE
    assert (read_drafts(bus, "s"), read_checkpoint(bus, "s")) == ({7: DRAFT}, OTHER)


@pytest.mark.parametrize("fence", [b"4", None], ids=["overtaken", "removed"])
@pytest.mark.parametrize(
    "write",
    [
        lambda bus, attempt: write_draft(bus, attempt, 0, DRAFT),
        lambda bus, attempt: write_checkpoint(bus, attempt, ONE),
    ],
    ids=["draft", "checkpoint"],
)
def test_only_the_newest_attempt_writes(
    bus: redis.Redis, attempt: Attempt, fence: bytes | None, write: Callable[[redis.Redis, Attempt], object]
) -> None:
    if fence is None:
        bus.delete(keys.fence("s"))
    else:
        bus.set(keys.fence("s"), fence)
    with pytest.raises(Fenced):
        write(bus, attempt)
    assert not bus.exists(keys.drafts("s"), keys.checkpoints("s"))
