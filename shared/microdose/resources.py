"""Bodies of the HTTP API, shared by both ends."""

from enum import StrEnum
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import AwareDatetime, ConfigDict, Field, StrictBool, model_validator
from pydantic.config import JsonDict

from microdose.base import Descriptor
from microdose.digest import MAX_BLOB_BYTES, Digest
from microdose.document import Document, Request
from microdose.dose import DoseKind
from microdose.ids import Id
from microdose.manifest import ByteCounts, Count, Name, Side
from microdose.problem import Problem

MAX_REFINE = 1000
"""Steps to refine the latents of a picture in, at most."""
PROFILE_PATTERN = "^[a-z0-9][a-z0-9-]{0,39}$"
REFINED_LIVE: JsonDict = {
    "required": ["live", "refine"],
    "properties": {"live": {"const": True}, "refine": {"type": "integer"}},
}
"""The schema of a wish that cannot be had."""
Share = Annotated[float, Field(ge=0)]
Profile = Annotated[str, Field(pattern=PROFILE_PATTERN)]


class DoseChoice(StrEnum):
    """What a publisher asks for; `auto` lets the rate search decide, the others are rungs of its ladder."""

    AUTO = "auto"
    NONE = "none"
    GAINS = "gains"
    LOW_RANK = "low-rank"
    FULL = "full"


class DoseAim(StrEnum):
    """What the student is to paint once it has its dose: the uploaded pictures, or the teacher's of them.

    Aimed at the originals it may outdo the teacher; aimed at the teacher it can at most equal it.
    """

    ORIGINALS = "originals"
    TEACHER = "teacher"


class SequenceState(StrEnum):
    """open: frames may be added. queued, running: a job has it. The rest is final.

    A live sequence has its job from the start, and takes frames until it is completed.
    """

    OPEN = "open"
    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHED = "published"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """queued, running, then one of four ends; `error` says why it failed or expired."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True where the job will not change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Priority(StrEnum):
    """Which line a job waits in; a line moves only while those before it are empty."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class SequenceCreate(Request):
    """A new sequence. `profile` picks the student, and so the base, among those that the server lists.

    `aim`: what doses are trained towards. `lmbda` weighs bits against distortion to that in the rate search;
    None takes the server's. `dose_bytes` and `dose_seconds` cap the size of all doses together and the time
    to make them, of a live sequence those of each; None: no cap but the server's. `refine`: in so many steps
    the latents of each picture are moved for what the student shows of them, dose and all; None: they stay as
    the encoder makes them. `live`: every frame is published when it comes, in the order of their numbers;
    nothing is refined then.
    """

    model_config = ConfigDict(json_schema_extra={"not": REFINED_LIVE})

    name: Name | None = None
    profile: Profile = "standard"
    dose: DoseChoice = DoseChoice.AUTO
    aim: DoseAim = DoseAim.ORIGINALS
    lmbda: Annotated[float, Field(gt=0)] | None = None
    dose_bytes: Annotated[int, Field(gt=0, le=MAX_BLOB_BYTES)] | None = None
    dose_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    refine: Annotated[int, Field(gt=0, le=MAX_REFINE)] | None = None
    live: StrictBool = False

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.live and self.refine is not None:
            raise ValueError("refine is for sequences that are whole: a live one is coded as it comes")
        return self


class SequenceComplete(Request):
    """That all frames are there, and how urgent their job is."""

    priority: Priority = Priority.NORMAL


class Results(Document):
    """What a published sequence measured, so far if it is live. `bpp_total` counts every byte per pixel."""

    pictures: Count
    pixels: Count
    bytes: ByteCounts
    bpp_total: Share
    dose_kind: DoseKind
    seconds: dict[str, float] = Field(default_factory=dict)


class Sequence(Document):
    """A sequence as the server sees it. `next` is the number after the highest that any frame had.

    One from before there was a choice has no `aim`: its doses aim at the teacher, as all others did then.
    """

    id: Id
    name: Name | None = None
    profile: str
    dose: DoseChoice
    aim: DoseAim = DoseAim.TEACHER
    lmbda: float | None = None
    dose_bytes: int | None = None
    dose_seconds: float | None = None
    refine: int | None = None
    live: bool = False
    state: SequenceState
    created: AwareDatetime
    frames: Count = 0
    next: Count = 0
    job: Id | None = None
    results: Results | None = None
    error: Problem | None = None


class Frame(Document):
    """An uploaded picture. `notes` says what intake changed (orientation applied, profile converted...)."""

    n: Count
    digest: Digest
    size: Count
    width: Side
    height: Side
    name: Name | None = None
    notes: tuple[str, ...] = ()


class Job(Document):
    """The work of turning frames into a published sequence.

    `attempt` counts how often it was started, `losses` how many of these attempts were lost with their
    process or a service that they need; after so many the job fails. `psnr` is to what the doses aim at, in
    dB.
    """

    id: Id
    sequence: Id
    priority: Priority = Priority.NORMAL
    state: JobState
    attempt: Count = 0
    losses: Count = 0
    phase: str | None = None
    step: Count = 0
    steps: Count = 0
    loss: float | None = None
    psnr: float | None = None
    eta_s: float | None = None
    error: Problem | None = None
    created: AwareDatetime
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None


class JobEvent(Document):
    """A change of a job: of its state, or of its progress only."""

    type: Literal["state", "progress"]
    job: Job


T = TypeVar("T")


class Page(Document, Generic[T]):
    """A part of a list; pass `next` as `cursor` to get the part after it."""

    items: tuple[T, ...]
    next: str | None = None


class BaseInfo(Document):
    """A base that this server encodes for, and the profile that asks for it."""

    profile: Profile
    name: str
    base: Descriptor
    parameters: Count
    kmac_per_pixel: Share
