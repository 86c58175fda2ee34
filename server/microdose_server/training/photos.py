"""The photographs of a run: judged by their headers, decoded now where they fit into memory, else as drawn.

    entries --threads: header--> sizes, or refusals --> fits? -- yes --> threads: all decoded, and kept
                                                          '----- no ---> decoded when a crop is cut of them

Training sees what coding sees: every picture goes through the server's intake, which makes it upright
eight-bit sRGB, or refuses it.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from microdose.errors import BadPicture, BadUpload, NotFound
from microdose_server.intake.kind import PICTURE_SUFFIXES
from microdose_server.intake.picture import picture_size, read_picture
from microdose_server.settings import Limits
from microdose_server.training.data import THREADS, Photos, Pixels, Size, split_held_out
from microdose_server.training.decoded import Decoded
from microdose_server.training.entries import SHARD, Entry, find_entries

GIB = 1 << 30
MEMORY = 8 * GIB
"""Bytes of decoded photographs that a process holds where nobody says otherwise; three to a pixel."""
LIMITS = Limits()
NAMED = 10
"""A message tells so many of what it is about, and how many more there are."""

log = logging.getLogger(__name__)


class _Judged(NamedTuple):
    """What intake says of an entry: its upright size; where it refuses one, its name and the reason."""

    entry: Entry
    size: Size = (0, 0)
    refusal: str = ""

    def pixels(self) -> Pixels:
        """Decode it. Raises BadPicture, by name, if it is damaged, gone, or not of the size that was told."""
        try:
            with self.entry.open() as file:
                pixels = read_picture(file.read(self.entry.size), LIMITS).pixels
        except (BadPicture, OSError) as error:
            raise BadPicture(f"{self.entry.name}: {error}") from None
        if pixels.shape[:2] != self.size:
            now, before = (f"{width}x{height}" for height, width in (pixels.shape[:2], self.size))
            raise BadPicture(f"{self.entry.name}: it was {before} by its header and is {now}")
        return pixels


def load_apart(source: Path, least_side: int, held_out: int, memory: int = MEMORY) -> tuple[Photos, Photos]:
    """`load_photos` in two: those to learn from, and those held out, which are never learnt from.

    Which these are follows from all pictures that there are, the small ones too: a later stage with larger
    crops must not learn from what an earlier one has held out. Raises as `load_photos`.
    """
    photos, large = _load(source, least_side, memory)
    learnt, apart = split_held_out(len(photos), held_out)
    return photos.only([n for n in learnt if n in large]), photos.only([n for n in apart if n in large])


def load_photos(source: Path, least_side: int, memory: int = MEMORY) -> Photos:
    """Every picture as [H, W, 3]: those of a folder and all below it by path, those of a shard in its order.

    Files without the suffix of a picture are passed over, and, with a warning, pictures with a side shorter
    than `least_side`. Where all fit into `memory` bytes, they are decoded now; else when they are asked for,
    and so many bytes of them are kept.

    Raises:
        NotFound: there is no such folder or file.
        BadUpload: it holds no picture, or none that is large enough, or a shard is damaged.
        BadPicture: intake refuses some; also later, where one is found damaged when it is decoded.
    """
    photos, large = _load(source, least_side, memory)
    return photos.only(sorted(large))


def _load(source: Path, least_side: int, memory: int) -> tuple[Photos, set[int]]:
    """All pictures, and the numbers of those that are large enough."""
    if not source.exists():
        raise NotFound(f"there is no {source}; give a folder of pictures, or a plain {SHARD} file of them")
    with ThreadPoolExecutor(THREADS) as pool:
        judged = list(pool.map(_judge, find_entries(source)))
        decoded = Decoded(lambda number: judged[number].pixels(), memory)
        sizes = [each.size for each in judged]
        large = [number for number, size in enumerate(sizes) if min(size) >= least_side]
        needed = sum(3 * height * width for height, width in (sizes[number] for number in large))
        if needed <= memory:
            refusals = list(pool.map(lambda number: _refusal(decoded, number), large))
            for number, refusal in zip(large, refusals, strict=True):
                judged[number] = judged[number]._replace(refusal=refusal)
    _complain(judged, least_side, source)
    if needed > memory:
        log.info("photographs of %.1f GiB do not fit: each is decoded when it is drawn", needed / GIB)
    return Photos(sizes, lambda number: _drawn(decoded, number)), set(large)


def _judge(entry: Entry) -> _Judged:
    try:
        with entry.open() as file:
            return _Judged(entry, picture_size(file, LIMITS))
    except (BadPicture, OSError) as error:
        return _Judged(entry, refusal=f"{entry.name}: {error}")


def _refusal(decoded: Decoded, number: int) -> str:
    """Why a picture cannot be decoded; nothing for one that is, and kept."""
    try:
        decoded(number)
    except BadPicture as error:
        return str(error)
    return ""


def _drawn(decoded: Decoded, number: int) -> Pixels:
    try:
        return decoded(number)
    except BadPicture as error:
        raise BadPicture(
            f"{error}; repair it, and go on with --resume, or anew if nothing is saved"
        ) from None


def _complain(judged: Sequence[_Judged], least_side: int, source: Path) -> None:
    """Warn of pictures that are too small. Raises BadUpload if all are, or there are none, and BadPicture for
    those that are refused.
    """
    if not judged:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise BadUpload(
            f"{source} holds no picture; give a folder of {kinds} files, or plain {SHARD} files of them"
        )
    if refused := [each.refusal for each in judged if each.refusal]:
        raise BadPicture(f"repair or take out what is refused: {_listed(refused)}")
    small = [f"{name} is {size[1]}x{size[0]}" for (name, *_), size, _ in judged if min(size) < least_side]
    told = f"{len(small)} of {len(judged)} pictures have a side below {least_side} pixels: {_listed(small)}"
    if len(small) == len(judged):
        raise BadUpload(f"{source}: {told}; give larger ones, or smaller crops")
    if small:
        log.warning("passing over what training cannot use: %s", told)


def _listed(items: Sequence[str]) -> str:
    more = f"; and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more
