"""HTTP requests as bytes: a valid one to every resource of an API."""

from dataclasses import dataclass

from microdose.digest import digest_of, repr_digest
from tests.photos import encode, film, pack, photo

BOUNDARY = "b0undary"


@dataclass(frozen=True)
class Scene:
    """Where an API is, a key for it, and what it has: sequences, a job, a blob."""

    port: int
    key: str
    published: str
    open: str
    live: str
    job: str
    blob: str


def requests(scene: Scene) -> dict[str, bytes]:
    """A valid request of every kind."""
    png, jpeg = encode(photo(1)), encode(photo(2), "JPEG")
    blob, sequence = b"a blob", f"/v1/sequences/{scene.published}"

    def made(method: str, target: str, body: bytes | None = None, **headers: str) -> bytes:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {} if body is None else {"Content-Length": str(len(body))}
        named |= {"Host": "localhost", "Authorization": f"Bearer {scene.key}"}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")

    json = {"Content_Type": "application/json"}
    form = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}
    picture = {"Content_Type": "image/png", "Repr_Digest": repr_digest(digest_of(png))}
    wish = (
        b'{"name": "a", "dose": "auto", "aim": "teacher", "lmbda": 0.75, "dose_bytes": 9000,'
        b' "dose_seconds": 60, "refine": 12, "live": false}'
    )
    return {
        "manifest": made("GET", f"{sequence}/manifest?since=1&wait=0", If_None_Match='"1"'),
        "events": made("GET", f"{sequence}/events?after=1-0", Last_Event_ID="1-0"),
        "blob": made("GET", f"/v1/blobs/{scene.blob}", Range="bytes=0-9, 20-29", If_Range=f'"{scene.blob}"'),
        "sequences": made("GET", f"/v1/sequences?limit=2&cursor={scene.open}"),
        "job": made("GET", f"/v1/jobs/{scene.job}?wait=0"),
        "job events": made("GET", f"/v1/jobs/{scene.job}/events", Last_Event_ID="1-0"),
        "create": made("POST", "/v1/sequences", wish, **json),
        "complete": made("POST", f"/v1/sequences/{scene.open}/complete", b'{"priority": "high"}', **json),
        "cancel": made("POST", f"/v1/jobs/{scene.job}/cancel"),
        "frame": made(
            "PUT", f"/v1/sequences/{scene.open}/frames/7", png, X_Microdose_Name="a%20b", **picture
        ),
        "live frame": made("PUT", f"/v1/sequences/{scene.live}/frames/7", png, **picture),
        "form": made("POST", "/v1/sequences:upload", multipart(("a.png", png), ("b.jpg", jpeg)), **form),
        "zip form": made("POST", "/v1/sequences:upload", multipart(("a.zip", pack(("1.png", png)))), **form),
        "clip form": made("POST", "/v1/sequences:upload", multipart(("a.mp4", film(2))), **form),
        "put blob": made("PUT", f"/v1/blobs/{digest_of(blob)}", blob),
        "checkpoint": made("PUT", f"/v1/checkpoints/{digest_of(blob)}", blob),
    }


def multipart(*files: tuple[str, bytes]) -> bytes:
    """A form of files, and two wishes."""
    body = b""
    for name, value in (("name", "a"), ("dose", "none")):
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, data in files:
        disposition = f'form-data; name="files"; filename="{name}"'
        body += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()
