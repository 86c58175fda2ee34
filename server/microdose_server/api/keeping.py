"""From an uploaded file to a kept frame: judged and admitted first, then stored by digest, then recorded.

So a refused picture leaves nothing behind, and a recorded frame has its original. Only where others took its
place between the last two steps does a file stay that nothing names, for garbage collection.
"""

import os
import shutil
from typing import IO

from microdose.errors import BadPicture, BadUpload
from microdose.problem import ProblemError, make_problem
from microdose.resources import Frame, SequenceState
from microdose_server.api.services import Services
from microdose_server.intake.sandbox import Judged
from microdose_server.store.arrivals import TAKING
from microdose_server.store.incoming import Incoming


def require_place(here: Services, sequence: str, n: int) -> None:
    """Raise NotFound, a conflict or BadUpload unless `sequence` takes frames, and one of this number."""
    found, most = here.sequences.get(sequence), here.settings.limits.max_frames
    if found.state not in (TAKING if found.live else (SequenceState.OPEN,)):
        detail = f"sequence {sequence} is {found.state} and takes no more frames"
        raise ProblemError(make_problem("conflict", detail))
    if n >= most and not found.live:
        raise BadUpload(f"frame {n} is outside 0..{most - 1}, the most one sequence may have")


def require_room(here: Services, coming: int) -> None:
    """Raise the problem no-space where `coming` bytes would not leave the disk's reserve.

    Redis needs that: its log of writes often is on the same disk.
    """
    free, reserve = shutil.disk_usage(here.settings.data_dir).free, here.settings.reserve_bytes
    if free - coming < reserve:
        detail = f"the server keeps {reserve} bytes of its disk free and has {free}; nothing was stored"
        raise ProblemError(make_problem("no-space", detail))


def keep_file(here: Services, sequence: str, n: int, file: IO[bytes], name: str | None) -> Frame:
    """Keep a picture file as frame `n`. Raises as `require_room` and `keep`."""
    require_room(here, file.seek(0, os.SEEK_END))
    file.seek(0)
    with here.originals.incoming() as incoming:
        incoming.copy(file)
        return keep(here, sequence, n, incoming, name)[0]


def keep(here: Services, sequence: str, n: int, incoming: Incoming, name: str | None) -> tuple[Frame, bool]:
    """Keep a picture file that has arrived as frame `n`; with whether that number is new.

    The same picture again in the same place is not decoded again. Raises BadPicture, which names the frame
    and the reason, or what `Sequences.put_frame` raises.
    """
    known = here.sequences.frame(sequence, n)
    if known is not None and (known.digest, known.name) == (incoming.digest, name):
        return known, False
    try:
        picture = here.sandbox.judge(incoming.file)
    except BadPicture as error:
        label = f" ({name!r})" if name else ""
        raise BadPicture(f"frame {n}{label}: {error}") from error
    return _record(here, sequence, n, incoming, picture, name)


def keep_picture(here: Services, sequence: str, n: int, picture: Judged) -> Frame:
    """Keep a frame of a clip as frame `n`. Raises as `require_room` and `Sequences.put_frame`."""
    require_room(here, len(picture.png))
    with here.originals.incoming() as incoming:
        incoming.write(picture.png)
        return _record(here, sequence, n, incoming, picture, None)[0]


def _record(
    here: Services, sequence: str, n: int, incoming: Incoming, picture: Judged, name: str | None
) -> tuple[Frame, bool]:
    frame = Frame(
        n=n,
        digest=incoming.digest,
        size=incoming.size,
        width=picture.width,
        height=picture.height,
        name=name,
        notes=picture.notes,
    )
    limits = here.settings.limits
    here.sequences.require_admission(sequence, frame, limits)
    incoming.keep()
    return frame, here.sequences.put_frame(sequence, frame, limits)
