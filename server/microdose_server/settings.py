"""Everything an operator can set, read once from the environment (prefix `MICRODOSE_`).

`MICRODOSE_DATA_DIR=/srv/md MICRODOSE_LIMITS__MAX_FRAMES=500 REDIS_URL=redis://bus:6379 microdose-server up`
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from microdose.digest import MAX_BLOB_BYTES
from microdose.segment import MAX_PIXELS

MIB = 1 << 20


class Limits(BaseModel):
    """What one client may send and hold: every count, size and time that a stranger controls has its bound.

    The bounds of the bounds are what blobs, picture headers and manifests can hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_picture_bytes: int = Field(default=64 * MIB, gt=0, le=MAX_BLOB_BYTES)
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, le=MAX_PIXELS, description="of one picture")
    max_frames: int = Field(
        default=4096, gt=0, le=10_000, description="of one sequence; of a live one, those that wait"
    )
    max_upload_bytes: int = Field(default=2048 * MIB, gt=0, description="of one multipart request")
    quota_bytes: int | None = Field(default=None, gt=0, description="of all frames of one API key")
    quota_sequences: int | None = Field(default=None, gt=0, description="of one API key")
    max_form_files: int = Field(
        default=256, gt=0, description="of one form, each up to 1 MiB of memory or an open file"
    )
    max_form_fields: int = Field(default=16, gt=0, description="of one form, beside its files")
    max_form_field_bytes: int = Field(default=4096, gt=0, description="of one field that is no file")
    max_form_overhead: int = Field(default=4 * MIB, gt=0, description="bytes of a form beside its files")
    max_zip_ratio: int = Field(
        default=200,
        gt=0,
        description="inflated over deflated bytes of a member: far above what pictures reach",
    )
    max_zip_read: int = Field(
        default=4 * MIB,
        ge=1 << 18,
        description="bytes of an archive in memory; its directory is read at once",
    )
    max_sequence_pixels: int = Field(
        default=4_000_000_000, gt=0, description="of all pictures of a sequence that is not live"
    )
    picture_cpu_s: float = Field(default=30.0, gt=0, description="CPU time to decode one picture")
    picture_s: float = Field(default=60.0, gt=0, description="time to decode one picture")
    clip_s: float = Field(default=3600.0, gt=0, description="time to decode all pictures of one clip")

    max_head_bytes: int = Field(default=32 << 10, ge=4096, description="request line and headers")
    max_json_bytes: int = Field(default=64 << 10, gt=0, description="a body of JSON")
    max_connections: int = Field(default=4096, gt=0, description="at a time, of one API process")
    max_streams: int = Field(default=2048, gt=0, description="event streams at a time, of one API key")
    max_followed: int = Field(default=256, gt=0, description="sequences at a time, of one relay")
    head_s: float = Field(default=20.0, gt=0, description="a connection without a whole request head")
    silence_s: float = Field(default=30.0, gt=0, description="a pause between two parts of a body")
    min_body_rate: int = Field(default=4096, gt=0, description="bytes per second, over `silence_s`")
    stall_s: float = Field(default=60.0, gt=0, description="a client that reads nothing of its answer")


class Settings(BaseSettings):
    """The server's configuration; the same in the API, the worker and each job's own process."""

    model_config = SettingsConfigDict(
        env_prefix="MICRODOSE_", env_nested_delimiter="__", frozen=True, extra="ignore", populate_by_name=True
    )

    data_dir: Path = Field(default_factory=lambda: Path.home() / ".local" / "share" / "microdose")
    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("MICRODOSE_REDIS_URL", "REDIS_URL"),
        description="redis://, rediss:// or unix://; none starts the embedded Valkey",
    )
    blobs_url: str | None = Field(
        default=None, description="of the API, for a worker that shares no data folder with it"
    )
    upstream: str | None = Field(default=None, description="URL of the server whose streams a relay carries")
    cache_bytes: int = Field(default=10 * 1024 * MIB, ge=MAX_BLOB_BYTES, description="of a relay's blobs")
    host: str = "127.0.0.1"
    port: int = Field(default=8710, ge=0, le=65535)
    device: str = "cpu"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    limits: Limits = Limits()

    reserve_bytes: int = Field(default=1024 * MIB, ge=0, description="of the disk, left free for Redis")
    distil_steps: int = Field(default=2000, ge=0, description="most steps for the doses of a sequence")
    distil_seconds: float = Field(
        default=180,
        gt=0,
        description="most seconds for the same, all doses together; more for long sequences, inf: no bound",
    )
    distil_beta: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="weight of the teacher's discriminator in the loss of a dose; stage 1 has none",
    )
    checkpoint_s: float = Field(default=15, ge=0, description="between two checkpoints of a distillation")
    live_window: int = Field(default=300, ge=1, le=4096, description="segments that a live manifest lists")
    live_dose_s: float = Field(default=60, gt=0, description="most seconds for each dose of a live sequence")
    live_idle_s: float = Field(default=600, gt=0, description="a live sequence ends after this silence")
    job_attempts: int = Field(default=3, ge=1, description="tries of one job whose worker keeps dying")
    lease_s: float = Field(default=15.0, ge=1, description="silence after which a worker's job is another's")
    stall_seconds: float = Field(default=1800, gt=0, description="the longest a job may go without a report")
    job_seconds: float = Field(default=86_400, gt=0, description="the longest all tries of a job may take")
    queue_seconds: float = Field(default=7 * 86_400, gt=0, description="the longest wait for a first try")
    gc_grace_s: int = Field(default=86_400, ge=3600, description="how long a blob that nothing names stays")
    keep_open_s: int = Field(
        default=7 * 86_400, ge=3600, description="how long a sequence stays open that gets no frame"
    )
    keep_jobs_s: int = Field(default=30 * 86_400, ge=0, description="how long an ended job's record stays")
    hot_seconds: int = Field(default=7 * 86_400, gt=0, description="how long Redis keeps its copy of a blob")

    @property
    def look_s(self) -> int:
        """Seconds between two looks for jobs that nobody works on."""
        return max(1, int(self.lease_s / 3))

    def environ(self) -> dict[str, str]:
        """The environment that gives a child process these same settings.

        A worker runs each job in a fresh process, which reads its settings from the environment;
        what a command line changed has to get there too.
        """
        values: dict[str, object] = self.model_dump(mode="json", exclude={"limits"})
        values |= {f"limits__{name}": value for name, value in self.limits.model_dump().items()}
        stated = {name: str(value) for name, value in values.items() if value is not None}
        return {f"MICRODOSE_{name.upper()}": value for name, value in stated.items()}
