"""Services as processes of their own, by their variables."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.local.paths import REPO


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started(name: str, env: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        command = [sys.executable, "-m", f"services.{name}.main"]
        return subprocess.Popen(command, cwd=REPO, env=dict(env), stdout=log, stderr=log)


def until(holds: Callable[[], bool], timeout_s: float = 60.0, every_s: float = 0.1) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(every_s)
