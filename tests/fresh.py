"""Code in an interpreter of its own, which has imported nothing yet."""

import os
import subprocess
import sys


def told_by_a_fresh_interpreter(code: str) -> str:
    """What the code prints there, without the last line's end; nothing of our environment but the path."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
