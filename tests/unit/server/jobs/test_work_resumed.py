"""What an attempt at a job leaves to the next one."""

from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from microdose import keys
from microdose.digest import digest_of
from microdose.manifest import parse_manifest
from microdose_server.jobs import outcome
from microdose_server.jobs.work import process
from microdose_server.store.blobs import checkpoints, originals
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_checkpoint, read_drafts, write_checkpoint
from microdose_server.store.named import named_by_checkpoints, named_by_drafts
from tests.assigned import Give, again
from tests.photos import Pixels
from tests.tiny_encoder import TinyEncoder


class Dying(TinyEncoder):
    """Dies at its second picture."""

    def analyse(self, pixels: Pixels, epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        if self.encoded:
            raise KeyboardInterrupt
        return super().analyse(pixels, epoch)


def test_what_was_encoded_before_the_process_died_is_not_encoded_again(bus: redis.Redis, give: Give) -> None:
    given, encoder = give(), TinyEncoder()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    assert set(read_drafts(bus, given.attempt.sequence)) == {0}
    process(again(given), encoder)
    assert encoder.encoded == 1
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert len(manifest.segments) == 2
    assert read_drafts(bus, given.attempt.sequence) == {}


@pytest.mark.parametrize("harm", ["blob gone", "blob damaged", "other base", "other frame"])
def test_a_draft_that_is_of_no_use_is_made_again(
    bus: redis.Redis, give: Give, tmp_path: Path, harm: str
) -> None:
    given, encoder = give(), TinyEncoder()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    sequence = given.attempt.sequence
    draft = read_drafts(bus, sequence)[0]
    if harm == "blob gone":
        originals(tmp_path).path(draft.segment).unlink()
    elif harm == "blob damaged":
        originals(tmp_path).path(draft.segment).write_bytes(b"damaged")
    else:
        changed = {harm.split()[1]: digest_of(b"another")}
        bus.hset(keys.drafts(sequence), "0", draft.model_copy(update=changed).model_dump_json())
    process(again(given), encoder)
    assert encoder.encoded == 2


def test_drafts_stay_while_a_job_may_need_them(give: Give) -> None:
    given = give()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    draft = read_drafts(given.client, given.attempt.sequence)[0]
    assert named_by_drafts(given.client) == {draft.segment}
    process(again(given), TinyEncoder())
    assert named_by_drafts(given.client) == set()


def test_what_was_kept_of_a_job_goes_with_its_end(bus: redis.Redis, give: Give, tmp_path: Path) -> None:
    published, cancelled = give(), give()
    store = checkpoints(tmp_path)
    for given, encoder in ((published, Dying()), (cancelled, Dying())):
        with pytest.raises(KeyboardInterrupt):
            process(given, encoder)
        write_checkpoint(bus, given.attempt, store.put(given.attempt.sequence.encode()))
    assert named_by_checkpoints(bus) == set(store.digests())
    outcome.cancel(bus, cancelled.attempt.job)
    assert named_by_checkpoints(bus) == {read_checkpoint(bus, published.attempt.sequence)}
    process(again(published), TinyEncoder())
    assert named_by_checkpoints(bus) == named_by_drafts(bus) == set()
    assert not bus.exists(keys.drafts(published.attempt.sequence))
    assert not bus.exists(keys.checkpoints(published.attempt.sequence))
