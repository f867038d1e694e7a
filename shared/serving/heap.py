"""Returns freed memory to the system. For processes that compute in bursts: glibc keeps what a burst has freed
as long as something small that is still in use lies above it."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from shared.serving.process import Background
from shared.state.loop import repeat

NAME = "memory"
# Less freed memory than this is kept for the next burst.
_LEAST_BYTES = 32 * 1024 * 1024


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h: ten numbers, of which `fordblks` is the freed memory in all heaps."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def returning_memory(every_s: float = 60.0) -> Background:
    """A background thread that returns freed memory every `every_s` seconds. Other threads that allocate wait
    for it, for up to some tens of milliseconds: not for processes where that matters."""
    return NAME, repeat(NAME, return_memory, idle_s=every_s)


def return_memory() -> None:
    """Does nothing where the system's allocator is not glibc's, or where little was freed."""
    libc = _glibc()
    if libc is not None and libc.mallinfo2().fordblks >= _LEAST_BYTES:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """None where there is none, or one older than 2.33."""
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2") or not hasattr(libc, "malloc_trim"):
        return None
    libc.mallinfo2.restype = _Mallinfo
    return libc
