"""The order of names."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from microdose.natural import natural_key


def test_numbers_in_names_count() -> None:
    assert sorted(["f10", "F2", "f1", "f1a"], key=natural_key) == ["f1", "f1a", "F2", "f10"]


@given(st.lists(st.text()))
def test_any_names_can_be_sorted(texts: list[str]) -> None:
    found = [natural_key(text) for text in sorted(texts, key=natural_key)]
    assert all(low <= high for low, high in pairwise(found))


@given(st.integers(0, 10**17), st.integers(0, 10**17))
def test_numbers_sort_as_numbers(a: int, b: int) -> None:
    assert (natural_key(f"f{a}.png") < natural_key(f"f{b}.png")) == (a < b)
