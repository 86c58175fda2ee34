import math
import signal
import subprocess
import sys
from pathlib import Path

from microdose_server.jobs.scratch import clear_scratch, scratch

HOLD = """
import sys
from pathlib import Path
from microdose_server.jobs.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(b"x")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_gone_after_its_job(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "large").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    with (
        scratch(tmp_path) as mine,
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        theirs = tmp_path / process.stdout.readline().strip()
        assert clear_scratch(tmp_path, math.inf) == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert clear_scratch(tmp_path) == 0  # it is too young
        assert clear_scratch(tmp_path, math.inf) == 1
        assert not theirs.exists()
        assert mine.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
