"""Progress: a bar on a terminal, few plain lines in a pipe, silence on request."""

import io

from microdose_client.progress import Step, reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, quiet: bool = False) -> str:
    with reporter(quiet, stream) as report:
        for done in range(1, 101):
            report(Step("uploading", done, 100, "[red]a.png"))
        report(Step("training [/b]", 0, 0, "loss 1\x1b"))
    return stream.getvalue()


def test_a_pipe_gets_at_most_a_line_per_tenth() -> None:
    lines = run(io.StringIO()).splitlines()
    assert lines[0] == "uploading 1/100 ([red]a.png)"
    assert lines[-1] == "training [/b] 0/0 (loss 1\N{REPLACEMENT CHARACTER})"
    assert len(lines) == 12
    assert not any("\x1b" in line for line in lines)


def test_a_terminal_gets_bars_and_names_are_no_markup() -> None:
    shown = run(Terminal())
    assert "uploading" in shown
    assert "100/100" in shown
    assert "[red]a.png" in shown
    assert "training [/b]" in shown
    assert "loss 1\N{REPLACEMENT CHARACTER}" in shown


def test_quiet_means_silent() -> None:
    assert run(io.StringIO(), quiet=True) == ""
