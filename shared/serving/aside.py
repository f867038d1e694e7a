"""Work of a service in a process of its own, so that it does not take the interpreter from the calls.

The service starts it and speaks to it through its standard input: `wake` looks for what the service has
committed, `stop` ends it in order, and the end of the input says that the service is gone, a kill -9
included: then it is gone, too, at once. Signals are the service's to answer: those that a terminal or a
supervisor sends to all processes are ignored.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

from shared.serving.process import Background, start_background
from shared.state.database import Database

_log = logging.getLogger(__name__)
# How soon it is noticed that the process has ended, in seconds.
_LOOKS_S = 1.0
# One heap for all threads: of each thread's own, what large batches leave free can stay with the process.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
WAKE, STOP = b"wake\n", b"stop\n"


class Aside:
    """`run` is a background thread of the service: it starts `python -m module` and ends with it. A process
    that ends by itself is an error, which ends the service."""

    def __init__(self, module: str, drain_s: float) -> None:
        self._module, self._drain_s = module, drain_s
        self._process: subprocess.Popen[bytes] | None = None
        self._speaking = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        command = [sys.executable, "-m", self._module]
        environment = {**os.environ, **_ENVIRONMENT}
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:  # noqa: S603
            self._process = process
            while not stop.wait(_LOOKS_S):
                if process.poll() is not None:
                    raise RuntimeError(f"{self._module} ended with {process.returncode}")
            self._say(STOP)
            try:
                process.wait(self._drain_s)
            except subprocess.TimeoutExpired:
                _log.warning("%s did not end within %s s", self._module, self._drain_s)
                process.kill()

    def wake(self) -> None:
        """Something was committed that it may wait for."""
        self._say(WAKE)

    def _say(self, word: bytes) -> None:
        """To one that has ended nothing need be said: `run` finds out."""
        with self._speaking, suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(word)
                self._process.stdin.flush()


def work_aside(
    service: str, background: Sequence[Background], database: Database, drain_s: float
) -> None:
    """Main of the process: runs `background` until the service says stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    stop = threading.Event()
    threads = [start_background(service, name, body, stop) for name, body in background]
    _listen(sys.stdin.buffer, database)
    stop.set()
    database.wake()
    for thread in threads:
        thread.join(drain_s)


def _listen(said: Iterable[bytes], database: Database) -> None:
    """Returns when told to stop."""
    for word in said:
        if word == STOP:
            return
        database.wake()
    os._exit(1)
