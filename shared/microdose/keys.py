"""Every Redis key this product uses, built here and nowhere else.

`{s:<id>}` and `{b:<digest>}` are hash tags: in a cluster, all keys of one sequence (or blob) share a slot, so
that one script may touch them. Viewers may read `md:pub:*` and nothing else.
"""

CHUNK = 2**20
"""Bytes per blob chunk: one huge SET would stall every other client of the server."""

PUBLIC = "md:pub:*"


def manifest(sequence: str) -> str:
    """String: the manifest as JSON."""
    return f"md:pub:{{s:{sequence}}}:manifest"


def events(sequence: str) -> str:
    """Stream: the sequence's events."""
    return f"md:pub:{{s:{sequence}}}:events"


def blob_chunk(digest: str, i: int) -> str:
    """String: bytes i * CHUNK up to (i + 1) * CHUNK of a blob."""
    return f"md:pub:{{b:{digest}}}:{i}"


def blob_meta(digest: str) -> str:
    """Hash: size and number of chunks of a blob."""
    return f"md:pub:{{b:{digest}}}:meta"


def fence(sequence: str) -> str:
    """String: the newest attempt number that may publish this sequence."""
    return f"md:{{s:{sequence}}}:attempt"


def lease(sequence: str) -> str:
    """String that expires: the attempt number that is being worked on."""
    return f"md:{{s:{sequence}}}:lease"


def sequence(sequence: str) -> str:
    """Hash: the server's record of a sequence."""
    return f"md:{{s:{sequence}}}:sequence"


def frames(sequence: str) -> str:
    """Hash: frame number to the record of its upload."""
    return f"md:{{s:{sequence}}}:frames"


def drafts(sequence: str) -> str:
    """Hash: frame number to what the work on it has left for another attempt."""
    return f"md:{{s:{sequence}}}:drafts"


def checkpoints(sequence: str) -> str:
    """Hash: phase of the work to the digest of its newest checkpoint, for another attempt."""
    return f"md:{{s:{sequence}}}:checkpoints"


def sequences() -> str:
    """Sorted set: all sequences by time of creation."""
    return "md:sequences"


def job(job: str) -> str:
    """Hash: state and progress of a job."""
    return f"md:job:{job}"


def job_events(job: str) -> str:
    """Stream: the history of a job."""
    return f"md:job:{job}:events"


def jobs() -> str:
    """Sorted set: all jobs by time of creation."""
    return "md:jobs"


def open_jobs() -> str:
    """Sorted set: the jobs that have not ended, by time of creation."""
    return "md:jobs:open"


def job_ends() -> str:
    """Hash: how many jobs ended, by state and reason."""
    return "md:ended"


def api_key(key: str) -> str:
    """Hash: secret's hash and scopes of an API key."""
    return f"md:key:{key}"


def api_usage(key: str) -> str:
    """Hash: how many bytes and sequences belong to an API key."""
    return f"md:key:{key}:usage"


def viewers() -> str:
    """Hash: name of a viewer's Redis user to the SHA-256 of its password."""
    return "md:viewers"


def api_keys() -> str:
    """Set: ids of all API keys."""
    return "md:keys"
