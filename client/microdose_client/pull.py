"""Pictures to files: each is written as PNG as soon as it is decoded."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from microdose_client.files import PngNames, write_png
from microdose_client.play import DecodedPicture
from microdose_client.progress import Report, Step, silent
from microdose_client.results import Info, Pulled
from microdose_client.threads import in_thread


async def pull(
    pictures: AsyncGenerator[DecodedPicture],
    info: Info,
    directory: Path,
    report: Report = silent,
    total: int = 0,
) -> Pulled:
    """Write `pictures` into `directory` (made if need be), named by picture name or number.

    Files of the same names are replaced, each at once; after an error, those written so far stay. `total`
    is for the report; 0 where nobody knows. Raises what `pictures` raises, and Unavailable if the directory
    cannot be written.
    """
    start = time.perf_counter()
    names, files = PngNames(), list[Path]()
    entropy = hyper = synthesis = 0.0
    async with aclosing(pictures):
        async for picture in pictures:
            files.append(directory / names.of(picture.n, picture.name))
            await in_thread(write_png, files[-1], picture.pixels)
            entropy += picture.timings.entropy_ms
            hyper += picture.timings.hyper_ms
            synthesis += picture.timings.synthesis_ms
            report(Step("decoding", len(files), total, files[-1].name))
    return Pulled(info, tuple(files), entropy, hyper, synthesis, time.perf_counter() - start)
