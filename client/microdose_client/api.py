"""The server's calls, one method each: typed in, typed out. Also a Source of published bytes."""

from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

from microdose.base import Descriptor
from microdose.digest import digest_of, repr_digest
from microdose.errors import CorruptStream, NotFound
from microdose.ids import is_event_id, is_id
from microdose.resources import BaseInfo, Frame, Job, Page, Sequence, SequenceComplete, SequenceCreate
from microdose.sse import Message, Parser
from microdose_client.http import Http, parse
from microdose_client.source import Heard

_INTAKE_S = 600.0  # a clip is unpacked before the server answers


class Api:
    """One Microdose server; every method raises as `Http.call` does, `events` as `Http.listen`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def name(self) -> str:
        """The server's URL, without credentials."""
        return self._http.name

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def manifest(self, sequence: str) -> bytes:
        """The manifest of a published sequence, as JSON."""
        return (await self._http.call("GET", f"{_sequence(sequence)}/manifest")).body

    async def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a blob, not verified yet."""
        answer = await self._http.call("GET", f"/v1/blobs/{descriptor.digest}", limit=descriptor.size)
        return answer.body

    async def events(self, sequence: str, after: str) -> AsyncGenerator[Heard | None]:
        """What is said after event id `after`, as it comes; ends when the server goes."""
        parser = Parser()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        async with self._http.listen(f"{_sequence(sequence)}/events", headers) as pieces:
            async for piece in pieces:
                for message in parser.feed(piece):
                    if message.event == "bye":
                        return
                    yield _heard(message)

    async def bases(self) -> list[BaseInfo]:
        """The bases that this server's streams are made for."""
        return parse(await self._http.call("GET", "/v1/bases"), list[BaseInfo])

    async def create(self, wish: SequenceCreate) -> Sequence:
        """Open a new, empty sequence."""
        answer = await self._http.call(
            "POST", "/v1/sequences", repeatable=False, json=wish.model_dump(mode="json", exclude_none=True)
        )
        return parse(answer, Sequence)

    async def put_frame(self, sequence: str, n: int, data: bytes, name: str | None = None) -> Frame:
        """Put the bytes of a picture file in place `n` (from 0); the same again changes nothing."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Repr-Digest": repr_digest(digest_of(data)),
        }
        if name:
            headers["X-Microdose-Name"] = quote(name, safe="", errors="replace")
        path = f"{_sequence(sequence)}/frames/{n}"
        answer = await self._http.call("PUT", path, content=data, headers=headers)
        return parse(answer, Frame)

    async def frames(self, sequence: str) -> list[Frame]:
        """The frames that have arrived so far."""
        return parse(await self._http.call("GET", f"{_sequence(sequence)}/frames"), list[Frame])

    async def complete(self, sequence: str, wish: SequenceComplete) -> Job:
        """Say that all frames are there; the answer is the job that will publish them."""
        path = f"{_sequence(sequence)}/complete"
        return parse(await self._http.call("POST", path, json=wish.model_dump(mode="json")), Job)

    async def upload(self, path: Path, wish: SequenceCreate, complete: SequenceComplete) -> Job:
        """Send one clip or zip archive in a single request; the answer is the job that will publish it."""
        with path.open("rb") as file:
            answer = await self._http.call(
                "POST",
                "/v1/sequences:upload",
                repeatable=False,
                wait=_INTAKE_S,
                data=_form(wish) | _form(complete),
                files={"files": (path.name, file)},
            )
        return parse(answer, Job)

    async def sequence(self, sequence: str) -> Sequence:
        """The state of a sequence and, once published, its measured results."""
        return parse(await self._http.call("GET", _sequence(sequence)), Sequence)

    async def sequences(self, limit: int, cursor: str | None = None) -> Page[Sequence]:
        """One page of the sequences, newest first."""
        return parse(
            await self._http.call("GET", "/v1/sequences", params=_page(limit, cursor)), Page[Sequence]
        )

    async def delete(self, sequence: str) -> None:
        """Remove a sequence."""
        await self._http.call("DELETE", _sequence(sequence))

    async def job(self, job: str, wait: float = 0) -> Job:
        """The state of a job; with `wait`, held back until it has ended, for at most that many seconds."""
        params = {"wait": f"{wait:g}"} if wait else {}
        return parse(await self._http.call("GET", _job(job), wait=wait, params=params), Job)

    async def jobs(self, limit: int, cursor: str | None = None) -> Page[Job]:
        """One page of the jobs, newest first."""
        return parse(await self._http.call("GET", "/v1/jobs", params=_page(limit, cursor)), Page[Job])

    async def cancel(self, job: str) -> Job:
        """Ask for a job to be stopped; asking again changes nothing."""
        return parse(await self._http.call("POST", f"{_job(job)}/cancel"), Job)


def _heard(message: Message) -> Heard | None:
    if not message.event:
        return None
    if message.id and not is_event_id(message.id):  # it is sent back as a header
        raise CorruptStream(f"{message.id[:50]!r} is no id of an event, which is like 7-0")
    return Heard(message.id, None if message.event == "reset" else message.data.encode())


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
    return {name: str(value) for name, value in wish.model_dump(mode="json", exclude_defaults=True).items()}
