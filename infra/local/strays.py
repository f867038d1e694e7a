"""Finds and kills processes of a stack that outlived their supervisor."""

import os
import signal
from pathlib import Path

import psutil

from infra.local.programs import MARK


def stray_groups(data: Path) -> set[int]:
    """Process groups with a member whose environment carries the stack's mark.

    Groups, because a worker that renames itself loses its readable environment; supervisor
    gives every part a group of its own.
    """
    groups = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(data):
                groups.add(os.getpgid(process.pid))
        except (psutil.Error, OSError):
            continue
    return groups - {os.getpgrp()}


def kill_strays(data: Path) -> int:
    """Kills what is left of a stack with SIGKILL; returns how many process groups there were."""
    groups = stray_groups(data)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(groups)
