import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from microdose.errors import Unavailable
from microdose_server.store.lock import lock_folder, release_folder


def test_a_living_owner_is_named(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(Unavailable, match=f"process {os.getpid()}"):
        lock_folder(tmp_path)


def test_a_copy_of_a_lock_that_was_given_up_is_waited_for(tmp_path: Path) -> None:
    """As a forked child has one until it runs its program."""
    file = lock_folder(tmp_path)
    copy = os.dup(file.fileno())
    release_folder(file)
    with ThreadPoolExecutor(1) as other:
        again = other.submit(lock_folder, tmp_path)
        os.close(copy)
        again.result().close()
