import json
import subprocess
import sys
from pathlib import Path

import pytest

from microdose_server.announce import announcer
from microdose_server.cli import TOOLS, main, parser
from tests.programs import surroundings

LIGHT = """
import sys
from microdose_server.cli import parser
parser().parse_args(["up", "--json"])
import microdose_server.up, microdose_server.jobs.worker
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "compressai", "onnxruntime"}))
"""


def test_the_programs_start_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], env=surroundings(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


@pytest.mark.parametrize("tool", TOOLS)
def test_tools_are_loaded_when_they_are_called(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_tool.py").write_text(
        "def add_arguments(parser): parser.add_argument('photos')\n"
        "def run(options): return len(options.photos)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TOOLS, tool, ("a_tool", "measures a name"))
    assert main([tool, "photos"]) == 6
    with pytest.raises(SystemExit, match="2"):
        main([tool])


def test_what_is_not_said_is_left_to_the_environment() -> None:
    options = parser().parse_args(["up", "--port", "0", "--data-dir", "/srv"])
    assert (options.port, options.data_dir, options.host, options.redis_url) == (0, Path("/srv"), None, None)


def test_an_announcement_is_a_sentence_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    announcer(False)("ready", "it is ready", url="http://x")
    announcer(True)("ready", "it is ready", url="http://x", path=Path("/srv"))
    sentence, line = capsys.readouterr().out.splitlines()
    assert sentence == "it is ready"
    assert json.loads(line) == {"event": "ready", "url": "http://x", "path": "/srv"}
