"""Processes that a service starts for one piece of work, and that must not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Linux kills this process when the thread that started it ends, a kill -9 of its process included. A
    parent that is dead already is seen by its id; 0 asks for no parent."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit("the service that asked for this is gone")
