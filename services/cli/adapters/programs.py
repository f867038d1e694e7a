"""Programs of other services that need no running platform, as child processes.

No service imports another, so a service's offline work is a program of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from services.cli.adapters import surroundings


def run_program(module: str, arguments: Sequence[str]) -> int:
    """Runs `python -m module arguments` on our own streams; its exit code. It has our variables and those of a
    local stack nearby. Ctrl-C reaches it directly; we wait until it has ended."""
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", module, *arguments],
        env=surroundings.variables(os.environ, Path.cwd()),
    )
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
