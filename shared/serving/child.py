"""Processes that a service starts for one piece of work and that must not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Makes Linux kill this process when the thread that started it ends, even by kill -9 of its process.
    Exits with status 1 if `parent` is no longer the parent; 0 skips that check."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit("the service that started this process is gone")
