"""Where a server may be, and what a key may be."""

import pytest

from microdose.address import bearer, is_server
from microdose.problem import ProblemError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "origin", "origin.example.org", "bücher.example"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_a_server_may_be(scheme: str, host: str) -> None:
    assert is_server(scheme, host)


@pytest.mark.parametrize(
    ("scheme", "host"),
    [("", ""), ("http", ""), ("ftp", "origin"), ("", "origin"), ("http", "a..b"), ("http", "x" * 64)],
)
def test_where_none_can_be(scheme: str, host: str) -> None:
    assert not is_server(scheme, host)


def test_a_key_goes_into_the_header() -> None:
    assert bearer("md_k_s") == "Bearer md_k_s"


@pytest.mark.parametrize("key", ["two words", "zwölf", "a\r\nEvil: 1", "tab\t", "\x7f"])
def test_what_cannot_be_a_key_never_reaches_a_header(key: str) -> None:
    with pytest.raises(ProblemError, match=r"characters that no key has: .* MICRODOSE_KEY") as caught:
        bearer(key)
    assert caught.value.problem.status == 401


def test_who_has_no_key_is_told_where_it_goes() -> None:
    with pytest.raises(ProblemError, match=r"there is no API key: .* MICRODOSE_KEY"):
        bearer("")
