"""The server's calls, one method each: typed in, typed out. Also a Source of published bytes."""

from pathlib import Path
from urllib.parse import quote

from microdose.base import Descriptor
from microdose.errors import NotFound
from microdose.ids import is_id
from microdose.resources import BaseInfo, Frame, Job, Page, Sequence, SequenceComplete, SequenceCreate
from microdose_client.http import Http, parse

_INTAKE_S = 600.0  # a clip is unpacked before the server answers


class Api:
    """One Microdose server. Safe to share between threads; every method raises as `Http.call` does."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def name(self) -> str:
        """The server's URL, without credentials."""
        return self._http.name

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def manifest(self, sequence: str) -> bytes:
        """The manifest of a published sequence, as JSON."""
        return self._http.call("GET", f"{_sequence(sequence)}/manifest").body

    def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a blob, not verified yet."""
        return self._http.call("GET", f"/v1/blobs/{descriptor.digest}", limit=descriptor.size).body

    def bases(self) -> list[BaseInfo]:
        """The bases that this server's streams are made for."""
        return parse(self._http.call("GET", "/v1/bases"), list[BaseInfo])

    def create(self, wish: SequenceCreate) -> Sequence:
        """Open a new, empty sequence."""
        answer = self._http.call(
            "POST", "/v1/sequences", repeatable=False, json=wish.model_dump(mode="json", exclude_none=True)
        )
        return parse(answer, Sequence)

    def put_frame(self, sequence: str, n: int, data: bytes, name: str | None = None) -> Frame:
        """Put the bytes of a picture file in place `n` (from 0); the same again changes nothing."""
        headers = {"Content-Type": "application/octet-stream"}
        if name:
            headers["X-Microdose-Name"] = quote(name, safe="", errors="replace")
        answer = self._http.call("PUT", f"{_sequence(sequence)}/frames/{n}", content=data, headers=headers)
        return parse(answer, Frame)

    def frames(self, sequence: str) -> list[Frame]:
        """The frames that have arrived so far."""
        return parse(self._http.call("GET", f"{_sequence(sequence)}/frames"), list[Frame])

    def complete(self, sequence: str, wish: SequenceComplete) -> Job:
        """Say that all frames are there; the answer is the job that will publish them."""
        path = f"{_sequence(sequence)}/complete"
        return parse(self._http.call("POST", path, json=wish.model_dump(mode="json")), Job)

    def upload(self, path: Path, wish: SequenceCreate, complete: SequenceComplete) -> Job:
        """Send one clip or zip archive in a single request; the answer is the job that will publish it."""
        with path.open("rb") as file:
            answer = self._http.call(
                "POST",
                "/v1/sequences:upload",
                repeatable=False,
                wait=_INTAKE_S,
                data=_form(wish) | _form(complete),
                files={"files": (path.name, file)},
            )
        return parse(answer, Job)

    def sequence(self, sequence: str) -> Sequence:
        """The state of a sequence and, once published, its measured results."""
        return parse(self._http.call("GET", _sequence(sequence)), Sequence)

    def sequences(self, limit: int, cursor: str | None = None) -> Page[Sequence]:
        """One page of the sequences, newest first."""
        return parse(self._http.call("GET", "/v1/sequences", params=_page(limit, cursor)), Page[Sequence])

    def delete(self, sequence: str) -> None:
        """Remove a sequence."""
        self._http.call("DELETE", _sequence(sequence))

    def job(self, job: str, wait: float = 0) -> Job:
        """The state of a job; with `wait`, held back until it has ended, for at most that many seconds."""
        params = {"wait": f"{wait:g}"} if wait else {}
        return parse(self._http.call("GET", _job(job), wait=wait, params=params), Job)

    def jobs(self, limit: int, cursor: str | None = None) -> Page[Job]:
        """One page of the jobs, newest first."""
        return parse(self._http.call("GET", "/v1/jobs", params=_page(limit, cursor)), Page[Job])

    def cancel(self, job: str) -> Job:
        """Ask for a job to be stopped; asking again changes nothing."""
        return parse(self._http.call("POST", f"{_job(job)}/cancel"), Job)


def _sequence(name: str) -> str:
    return f"/v1/sequences/{_checked('sequence', name)}"


def _job(name: str) -> str:
    return f"/v1/jobs/{_checked('job', name)}"


def _checked(kind: str, name: str) -> str:
    """An id fit for a path. Raises NotFound for anything else, which no server can have."""
    if not is_id(name):
        raise NotFound(f"{name!r} is not a {kind} id, which has 26 letters and digits, all lower case")
    return name


def _page(limit: int, cursor: str | None) -> dict[str, str]:
    return {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})


def _form(wish: SequenceCreate | SequenceComplete) -> dict[str, str]:
    """The same wish as form fields of a multipart request."""
    return {name: str(value) for name, value in wish.model_dump(mode="json", exclude_none=True).items()}
