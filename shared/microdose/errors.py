"""The one tree of errors. A message says what was wrong, where, and what to do about it."""


class MicrodoseError(Exception):
    """Everything this product raises on purpose."""


class CorruptStream(MicrodoseError):
    """Bytes that do not follow their format: truncated, altered, or never ours."""


class UnsupportedVersion(MicrodoseError):
    """Bytes of a newer format than this program knows: update it."""


class DigestMismatch(MicrodoseError):
    """Bytes that are not those which their SHA-256 name promised."""


class UnknownBase(MicrodoseError):
    """A segment made for another base than the one at hand: fetch the base its manifest names."""


class DoseMismatch(MicrodoseError):
    """A dose that does not fit the base at hand."""


class NotReproducible(MicrodoseError):
    """This machine computed other scale indexes than the encoder: the picture cannot be decoded here."""


class BadPicture(MicrodoseError):
    """An upload that is not a picture we accept; the message names the reason."""


class BadUpload(MicrodoseError):
    """An archive, a clip or a set of files that we refuse as a whole."""


class NotFound(MicrodoseError):
    """No such sequence, job, blob or file."""


class Removed(NotFound):
    """A sequence that was there, and that its publisher has removed."""


class Unavailable(MicrodoseError):
    """A server, Redis or a disk that cannot be reached or is too slow: try again later."""


class NoSpace(MicrodoseError):
    """A disk that is full, or that would not keep the reserve which Redis needs: make room."""


class BadUpstream(MicrodoseError):
    """An answer that a relay got from its upstream, and that is not what was asked for."""


class Fenced(MicrodoseError):
    """An attempt to publish by a worker that a newer attempt has replaced."""


class Diverged(MicrodoseError):
    """A training whose loss or gradient is no longer finite; what was saved before is still good."""
