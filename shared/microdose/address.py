"""The address of a server and the key to it: what both have to look like, before anything is sent.

A URL is taken apart by the library that will send to it; whether its parts will do is decided here.
"""

import re

from microdose.problem import ProblemError, make_problem


def is_server(scheme: str, host: str) -> bool:
    """Whether a URL of this scheme and host can be an HTTP server's, as far as shows without a look-up."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return scheme in ("http", "https") and bool(host)


def bearer(key: str) -> str:
    """The Authorization header of a request with an API key. Raises ProblemError for what cannot be one."""
    if not re.fullmatch(r"[!-~]+", key):
        what = "the API key has characters that no key has" if key else "there is no API key"
        detail = f"{what}: put one, which reads md_<id>_<secret>, into MICRODOSE_KEY"
        raise ProblemError(make_problem("unauthorized", detail))
    return f"Bearer {key}"
