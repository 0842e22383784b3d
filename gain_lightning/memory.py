"""How the process asks for memory."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the next step's tensors, instead of handing it back.

    On a CPU every step frees and asks for the same large tensors. glibc returns them to the system, which has to
    clear each page anew: a quarter of a VGG16 step of GAIN (docs/cost.md). The process then holds its peak.

    Returns:
        Whether it could be set: glibc alone has it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
