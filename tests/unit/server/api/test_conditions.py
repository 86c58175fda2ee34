import pytest

from microdose_server.api.conditions import matches


@pytest.mark.parametrize("condition", ['"a"', 'W/"a"', '"b", "a"', '"b" , W/"a"', "*"])
def test_these_name_it(condition: str) -> None:
    assert matches(condition, '"a"')


@pytest.mark.parametrize("condition", [None, "", '"b"', "a", '"a', '*, "b"'])
def test_these_do_not(condition: str | None) -> None:
    assert not matches(condition, '"a"')
