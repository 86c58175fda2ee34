import re

from microdose.ids import new_id


def test_ids_follow_the_pattern_and_differ() -> None:
    ids = [new_id() for _ in range(1000)]
    assert all(re.fullmatch(r"[a-z0-9]{26}", each) for each in ids)
    assert len(set(ids)) == len(ids)


def test_ids_sort_by_time() -> None:
    first = new_id()
    later = new_id()
    while later[:10] == first[:10]:  # the first ten letters hold the milliseconds
        later = new_id()
    assert first < later
