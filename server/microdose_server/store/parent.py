"""A process that does not outlive the one that started it.

    python parent.py PID PROGRAM ARGS…

runs PROGRAM so that it gets SIGTERM when its parent, process PID, ends in any way, SIGKILL included. The
child itself asks for that and then becomes PROGRAM: code between fork and exec is not safe in a program with
threads. Linux tells of the end of the *thread* that started the child: start it from one that stays.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Have the kernel send `signum` to this process when its parent ends; exit if it has ended already.

    On other systems than Linux this does nothing: there the parent's orderly end has to stop the child.
    """
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        raise SystemExit("the parent process ended first")


def command(program: str, *arguments: str) -> list[str]:
    """The command line that runs `program` as a child that dies with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *arguments]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]), signal.SIGTERM)
    os.execv(sys.argv[2], sys.argv[2:])
