"""From an uploaded file to a kept frame: judged first, then stored by digest, then recorded.

So a refused picture leaves nothing behind, and a recorded frame has its original.
"""

from typing import IO

from microdose.errors import BadPicture, BadUpload
from microdose.problem import ProblemError, make_problem
from microdose.resources import Frame, SequenceState
from microdose_server.api.services import Services
from microdose_server.intake.sandbox import Judged


def require_open(here: Services, sequence: str) -> None:
    """Raise NotFound, or a conflict, unless `sequence` takes frames."""
    state = here.sequences.get(sequence).state
    if state is not SequenceState.OPEN:
        raise ProblemError(
            make_problem("conflict", f"sequence {sequence} is {state} and takes no more frames")
        )


def keep_file(here: Services, sequence: str, n: int, file: IO[bytes], name: str | None) -> tuple[Frame, bool]:
    """Keep a picture file as frame `n`; with whether that number is new.

    Raises BadPicture, which names the frame and the reason, or what `Sequences.put_frame` raises.
    """
    limits = here.settings.limits
    if n >= limits.max_frames:
        raise BadUpload(f"frame {n} is outside 0..{limits.max_frames - 1}, the most one sequence may have")
    data = file.read()
    try:
        picture = here.sandbox.judge(data)
    except BadPicture as error:
        label = f" ({name!r})" if name else ""
        raise BadPicture(f"frame {n}{label}: {error}") from error
    return _keep(here, sequence, n, data, picture, name)


def keep_picture(here: Services, sequence: str, n: int, picture: Judged) -> Frame:
    """Keep a frame of a clip as frame `n`."""
    return _keep(here, sequence, n, picture.png, picture, None)[0]


def _keep(
    here: Services, sequence: str, n: int, data: bytes, picture: Judged, name: str | None
) -> tuple[Frame, bool]:
    frame = Frame(
        n=n,
        digest=here.originals.put(data),
        size=len(data),
        width=picture.width,
        height=picture.height,
        name=name,
        notes=picture.notes,
    )
    return frame, here.sequences.put_frame(sequence, frame, here.settings.limits)
