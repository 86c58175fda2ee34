"""What the C library does with memory that a training step gives back."""

import ctypes
import platform

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep what is freed for the next step, in this whole process; where the C library is not glibc, nothing.

    glibc returns large blocks to the kernel at once. A step makes the same large tensors as the step before,
    and would have the kernel find and clear every page of them again. Here no block is mapped by itself,
    and the heap never shrinks.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
