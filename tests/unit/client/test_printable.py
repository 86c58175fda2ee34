"""What reaches the terminal only shows itself."""

import pytest

from microdose_client.printable import printable


@pytest.mark.parametrize("text", ["", "Ferien am Meer (2)", "Straße 北京 🐈", "two\nlines"])
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("code", ["\x1b", "\r", "\b", "\x07", "\x9b", "\u202e", "\udcff"])
def test_codes_that_steer_a_terminal_do_not_reach_it(code: str) -> None:
    assert printable(f"a{code}b") == "a\N{REPLACEMENT CHARACTER}b"
