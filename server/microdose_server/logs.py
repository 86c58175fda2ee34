"""What the programs log, on stderr: lines for people, or with MICRODOSE_LOG_FORMAT=json an object a line.

What a line is about (request, job, sequence) goes with the thread or task that writes it, see `about`; so
every line says it, those of libraries included.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from microdose_server.settings import Settings

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039  never changed


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Say in every line logged inside that it is about these: about(job=…, sequence=…)."""
    token = _ABOUT.set({**_ABOUT.get(), **ids})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class TextLines(logging.Formatter):
    """For people: time, level, logger, message, and what it is about."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        ids = "".join(f" {name}={value}" for name, value in _ABOUT.get().items())
        return super().formatMessage(record) + ids


class JsonLines(logging.Formatter):
    """For programs: one JSON object a line. `extra={"facts": {…}}` of a call adds its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ABOUT.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging(settings: Settings) -> None:
    """Log as the settings say, once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
