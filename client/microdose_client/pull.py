"""Pictures to files: every picture of a manifest, decoded and written as PNG."""

import time
from pathlib import Path

from microdose.manifest import Manifest
from microdose_client.files import png_names, write_png
from microdose_client.play import play
from microdose_client.progress import Report, Step, silent
from microdose_client.reader import Reader
from microdose_client.results import Pulled, info_of


def pull(
    reader: Reader, manifest: Manifest, directory: Path, report: Report = silent, threads: int = 0
) -> Pulled:
    """Write the pictures of `manifest` into `directory` (made if need be), named by picture name or number.

    Files of the same names are replaced, each at once; after an error, those written so far stay.
    Raises whatever `play` and `info_of` raise, and Unavailable if the directory cannot be written.
    """
    start = time.perf_counter()
    info, names = info_of(manifest), png_names(manifest.segments)
    files: list[Path] = []
    entropy = hyper = synthesis = 0.0
    for picture in play(reader, manifest, threads):
        files.append(directory / names[picture.n])
        write_png(files[-1], picture.pixels)
        entropy += picture.timings.entropy_ms
        hyper += picture.timings.hyper_ms
        synthesis += picture.timings.synthesis_ms
        report(Step("decoding", len(files), info.pictures, files[-1].name))
    return Pulled(info, tuple(files), entropy, hyper, synthesis, time.perf_counter() - start)
