import pytest

from microdose.ids import is_event_id, is_id, new_id


def test_ids_follow_the_pattern_and_differ() -> None:
    ids = [new_id() for _ in range(1000)]
    assert all(map(is_id, ids))
    assert len(set(ids)) == len(ids)


def test_ids_sort_by_time() -> None:
    first = new_id()
    later = new_id()
    while later[:10] == first[:10]:  # the first ten letters hold the milliseconds
        later = new_id()
    assert first < later


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "A" * 26, "../" + "0" * 23, "0" * 26 + "\n", "\u0660" * 26]
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("text", ["0", "0-0", "1767225600000-12", "-".join(["9" * 20] * 2)])
def test_ids_of_events(text: str) -> None:
    assert is_event_id(text)


@pytest.mark.parametrize("text", ["", "$", "x", "-1", "1-", "1-2-3", "9" * 21, "1-0\n", "\u0661", "\xe9"])
def test_nothing_else_is_an_id_of_an_event(text: str) -> None:
    assert not is_event_id(text)
