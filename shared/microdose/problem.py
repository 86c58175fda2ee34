"""Problems (RFC 9457): one class serves as HTTP error body, job error and client exception."""

from microdose import errors
from microdose.document import Document
from microdose.errors import MicrodoseError

PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid-request": (422, "The request is not valid"),
    "bad-picture": (422, "The picture is refused"),
    "bad-upload": (422, "The upload is refused"),
    "corrupt-stream": (422, "The bytes do not follow their format"),
    "unsupported-version": (422, "The format is newer than this program"),
    "digest-mismatch": (422, "The bytes are not those their digest names"),
    "unknown-base": (422, "The base is not the one this was made for"),
    "dose-mismatch": (422, "The dose does not fit the base"),
    "not-reproducible": (422, "This machine cannot reproduce the encoder's tables"),
    "unauthorized": (401, "A valid key is needed"),
    "forbidden": (403, "The key does not allow this"),
    "not-found": (404, "There is no such thing"),
    "gone": (410, "It was removed"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "too-slow": (408, "The body did not arrive in time"),
    "conflict": (409, "The request does not fit the present state"),
    "fenced": (409, "A newer attempt has replaced this one"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The media type is not accepted"),
    "range-not-satisfiable": (416, "The range lies outside the blob"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "Something went wrong on the server"),
    "bad-upstream": (502, "The relay's upstream gave an answer that is of no use"),
    "unavailable": (503, "A part of the service cannot be reached"),
    "over-quota": (507, "The key's quota is used up"),
    "no-space": (507, "The server's disk is full"),
    "diverged": (500, "The training diverged"),
    "job-stalled": (500, "The job made no progress"),
    "job-expired": (503, "No worker took the job in time"),
    "job-deadline": (500, "The job took longer than allowed"),
    "job-out-of-memory": (500, "The job ran out of memory"),
    "job-worker-lost": (500, "The worker of the job is gone"),
    "job-cancelled": (409, "The job was cancelled"),
}

SLUGS: dict[type[MicrodoseError], str] = {
    errors.CorruptStream: "corrupt-stream",
    errors.UnsupportedVersion: "unsupported-version",
    errors.DigestMismatch: "digest-mismatch",
    errors.UnknownBase: "unknown-base",
    errors.DoseMismatch: "dose-mismatch",
    errors.NotReproducible: "not-reproducible",
    errors.BadPicture: "bad-picture",
    errors.BadUpload: "bad-upload",
    errors.NotFound: "not-found",
    errors.Removed: "gone",
    errors.Unavailable: "unavailable",
    errors.NoSpace: "no-space",
    errors.BadUpstream: "bad-upstream",
    errors.Fenced: "fenced",
    errors.Diverged: "diverged",
}


class FieldError(Document):
    """One thing that is wrong in a request: a JSON pointer (or parameter name) and what to change."""

    pointer: str
    detail: str


class Problem(Document):
    """What went wrong, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None

    @property
    def slug(self) -> str:
        """The last part of `type`, a key of PROBLEMS."""
        return self.type.rsplit("/", 1)[-1]


class ProblemError(MicrodoseError):
    """A problem as an exception: the server raises it to answer, the client when it was answered."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


def make_problem(slug: str, detail: str | None = None, *, errors: tuple[FieldError, ...] = ()) -> Problem:
    """A problem of a kind listed in PROBLEMS."""
    status, title = PROBLEMS[slug]
    return Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail, errors=errors)


def problem_of(error: MicrodoseError) -> Problem:
    """The problem that tells an error of ours to someone on the other side of the wire."""
    if isinstance(error, ProblemError):
        return error.problem
    slug = next((SLUGS[kind] for kind in type(error).__mro__ if kind in SLUGS), "internal")
    return make_problem(slug, str(error) or None)
