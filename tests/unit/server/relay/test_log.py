"""The log of a sequence: dense numbers, bounded length, honest about what it has no more."""

from microdose_server.relay.log import PAGE, SPARE, Log, Told


def add(log: Log, *numbers: int) -> None:
    for seq in numbers:
        log.add(seq, Told("segment", b"%d" % seq))


def numbers(log: Log, after: int) -> list[int] | None:
    page = log.after(after)
    return None if page is None else [int(event.message) for event in page]


def test_events_are_found_by_their_numbers() -> None:
    log = Log(4)
    assert (log.newest, numbers(log, 4), numbers(log, 9)) == (4, [], [])
    add(log, 5, 6, 7)
    assert (log.newest, numbers(log, 4), numbers(log, 6), numbers(log, 7)) == (7, [5, 6, 7], [7], [])
    assert numbers(log, 9) == []  # still to come
    assert numbers(log, 3) is None


def test_an_event_that_is_there_changes_nothing() -> None:
    log = Log(0)
    add(log, 1, 2, 1, 2)
    assert numbers(log, 0) == [1, 2]


def test_a_gap_forgets_what_was_before() -> None:
    log = Log(0)
    add(log, 1, 2, 5)
    assert (log.start, numbers(log, 4), numbers(log, 2), log.era) == (4, [5], None, 0)


def test_only_a_step_back_begins_another_era() -> None:
    log = Log(0)
    add(log, 1, 2, 3)
    log.restart(9)
    assert (log.newest, log.era) == (9, 0)
    log.restart(2)
    assert (log.newest, log.era) == (2, 1)


def test_the_oldest_are_dropped() -> None:
    log = Log(0, keep=1000)
    add(log, *range(1, 5001))
    assert log.newest == 5000
    assert 1000 <= log.newest - log.start < 1000 + SPARE
    assert numbers(log, log.start - 1) is None
    assert numbers(log, log.start) == [log.start + n for n in range(1, PAGE + 1)]
