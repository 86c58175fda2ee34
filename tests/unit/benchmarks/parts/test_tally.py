from benchmarks.parts.tally import Tally


def test_harm_is_counted_with_its_reason() -> None:
    tally = Tally()
    tally.note("lost", 0, "nothing")
    tally.note("lost", 2, "two frames")
    tally.note("stuck", 1, "a job")
    tally.note("lost", 1, "a third")
    assert (tally.lost, tally.stuck, tally.doubled) == (3, 1, 0)
    assert tally.why == ["lost 2: two frames", "stuck 1: a job", "lost 1: a third"]
