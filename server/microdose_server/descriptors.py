"""How many files and connections this process may have open: as many as it is allowed to ask for."""

import resource
from contextlib import suppress


def raise_limit() -> int:
    """Raise the soft limit on open files to the hard one, for every viewer is one; returns what holds then.

    A soft limit is often 1024, for the sake of programs that use `select`. Where the system does not let it
    be raised that far, it stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a Mac's hard limit is more than its kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
