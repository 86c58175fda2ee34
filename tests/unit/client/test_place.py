"""A viewer's place: every picture once and in order, whatever is lost, repeated or late."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.dose import MAX_CHAIN, DoseKind
from microdose.errors import CorruptStream, Removed
from microdose.ids import new_id
from microdose.manifest import (
    BASE_TYPE,
    DOSE_TYPE,
    MAX_EVENT_BYTES,
    SEGMENT_TYPE,
    EpochEntry,
    Event,
    Manifest,
    SegmentEntry,
)
from microdose_client.place import Action, Announce, Missed, Place, Show
from tests.tiny_base import describe

SEQUENCE = new_id()
BASE = describe(b"base", BASE_TYPE)
DOSES = [describe(f"dose {n}".encode(), DOSE_TYPE) for n in range(20)]


def segment(n: int, epoch: int = 0) -> SegmentEntry:
    return SegmentEntry(n=n, epoch=epoch, width=16, height=16, blob=describe(str(n).encode(), SEGMENT_TYPE))


def history(pictures: int) -> list[Event]:
    """A live sequence from its first event to its last; a new epoch with every fourth picture."""
    events = [Event(seq=1, type="init", epoch=0, base=BASE)]
    for n in range(pictures):
        if n and n % 4 == 0:
            events.append(Event(seq=len(events) + 1, type="init", epoch=n // 4, dose=DOSES[n // 4]))
        events.append(Event(seq=len(events) + 1, type="segment", segment=segment(n, n // 4)))
    return [*events, Event(seq=len(events) + 1, type="end")]


def manifest(events: Iterable[Event], **changes: Any) -> Manifest:
    """The snapshot after these events."""
    events = list(events)
    found = Manifest(
        sequence=SEQUENCE,
        version=len(events),
        seq=len(events),
        last_event_id=f"{len(events)}-0",
        base=BASE,
        epochs=tuple(
            EpochEntry(epoch=e.epoch, kind=DoseKind.FULL, dose=e.dose) for e in events if e.type == "init"
        ),
        segments=tuple(event.segment for event in events if event.segment is not None),
        ended=any(event.type == "end" for event in events),
    )
    return found.model_copy(update=changes)


def tell(place: Place, event: Event) -> list[Action]:
    return list(place.event(f"{event.seq}-0", event.to_bytes()))


def shown(actions: Iterable[Action]) -> list[int]:
    return [action.segment.n for action in actions if isinstance(action, Show)]


@given(
    pictures=st.integers(0, 14),
    joined=st.floats(0, 1),
    heard=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30),
)
def test_every_picture_once_and_in_order(
    pictures: int, joined: float, heard: list[tuple[float, float]]
) -> None:
    events = history(pictures)
    now = 1 + round(joined * (len(events) - 1))
    place = Place(SEQUENCE)
    seen = list(place.snapshot(manifest(events[:now])))
    line = [(round(when * len(events)), round(which * len(events))) for when, which in heard]
    for when, which in [*line, *((n, n) for n in range(1, len(events) + 1))]:
        now = max(now, when)
        try:
            seen += tell(place, events[min(which, now) - 1])  # repeated, late, or after a gap
        except Missed:
            seen += place.snapshot(manifest(events[:now]))
    assert place.ended()
    assert shown(seen) == list(range(pictures))
    for action in seen:
        if isinstance(action, Show):
            epoch = action.segment.epoch
            assert action.doses == ((DOSES[epoch],) if epoch else ())


@pytest.mark.parametrize(("start", "first"), [(0, 0), (2, 2), (-1, 4), (-3, 2), (-99, 0), (7, None)])
def test_where_to_begin(start: int, first: int | None) -> None:
    events = history(5)
    numbers = shown(Place(SEQUENCE, start).snapshot(manifest(events)))
    assert numbers == ([] if first is None else list(range(first, 5)))


def test_an_epoch_is_announced_before_its_first_picture_by_event_and_by_snapshot() -> None:
    events = history(3)[:-1]
    init = Event(seq=len(events) + 1, type="init", epoch=1, dose=DOSES[1])
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(events)))
    assert tell(place, init) == [Announce(1, (DOSES[1],))]
    *_, last = Place(SEQUENCE).snapshot(manifest([*events, init]))
    assert last == Announce(1, (DOSES[1],))


def test_a_chain_of_doses_is_followed() -> None:
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(history(0)[:1])))
    for epoch in range(1, MAX_CHAIN + 1):
        parent = epoch - 1 or None
        event = Event(seq=epoch + 1, type="init", epoch=epoch, dose=DOSES[epoch], parent=parent)
        assert tell(place, event) == [Announce(epoch, tuple(DOSES[1 : epoch + 1]))]
    with pytest.raises(Missed):
        tell(place, Event(seq=10, type="init", epoch=9, dose=DOSES[9], parent=8))


@pytest.mark.parametrize(
    "event",
    [
        Event(seq=9, type="segment", segment=segment(0)),
        Event(seq=2, type="segment", segment=segment(0, epoch=5)),
        Event(seq=2, type="segment"),
        Event(seq=2, type="init", epoch=1, dose=DOSES[1], parent=7),
        Event(seq=2, type="init", epoch=1, dose=DOSES[1], base=DOSES[0]),
    ],
)
def test_what_does_not_fit_sends_to_the_manifest(event: Event) -> None:
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(history(0)[:1])))
    with pytest.raises(Missed):
        tell(place, event)
    assert place.after == "1-0"


def test_a_discontinuity_is_told_once() -> None:
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(history(0)[:1])))
    assert tell(place, Event(seq=2, type="discontinuity", reason="a gap")) == []
    (first,) = tell(place, Event(seq=3, type="segment", segment=segment(4), time=5000))
    (second,) = tell(place, Event(seq=4, type="segment", segment=segment(5)))
    assert isinstance(first, Show)
    assert isinstance(second, Show)
    assert (first.discontinuity, first.published) == ("a gap", 5.0)
    assert (second.discontinuity, second.published) == (None, None)


def test_a_removed_sequence() -> None:
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(history(0)[:1])))
    with pytest.raises(Removed):
        tell(place, Event(seq=2, type="removed"))


def test_another_base_is_not_taken() -> None:
    place = Place(SEQUENCE)
    list(place.snapshot(manifest(history(1))))
    with pytest.raises(CorruptStream, match="changed its base"):
        list(place.snapshot(manifest(history(1), base=DOSES[0])))


def test_an_event_of_a_newer_protocol_sends_to_the_manifest() -> None:
    with pytest.raises(Missed):
        list(Place(SEQUENCE).event("2-0", b'{"seq":2,"type":"dance"}'))


BROKEN = [b"", b"{}", b"[]", b'{"seq":2}', b'{"seq":2,"type":"end","epoch":-1}', bytes(MAX_EVENT_BYTES + 1)]


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_event(data: bytes) -> None:
    with pytest.raises(CorruptStream, match=r"malformed|over the limit"):
        list(Place(SEQUENCE).event("2-0", data))
