"""A service's work in a separate process, so that it does not compete with calls for the interpreter.

The service starts the process and controls it through its standard input: `wake` makes it look for what
the service committed, `stop` ends it cleanly, and end of input means that the service is gone, even by
kill -9: then the process ends immediately. Signals are left to the service: those that a terminal or a
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
# How often `run` checks whether the process has ended, in seconds.
_LOOKS_S = 1.0
# One heap for all threads: with one per thread, memory that large batches freed can stay with the process.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
WAKE, STOP = b"wake\n", b"stop\n"


class Aside:
    """`run` is the body of a background thread of the service: it starts `python -m module`, and ends it when
    the service stops. If the process ends by itself, `run` raises RuntimeError, which ends the service."""

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
        """Tells the process that something was committed which it may be waiting for."""
        self._say(WAKE)

    def _say(self, word: bytes) -> None:
        """Ignores a process that has ended: `run` notices that."""
        with self._speaking, suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(word)
                self._process.stdin.flush()


def work_aside(
    service: str, background: Sequence[Background], database: Database, drain_s: float
) -> None:
    """The process's main: runs `background` until the service says stop or is gone."""
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
    """Returns on STOP. At the end of input ends the process immediately, with status 1."""
    for word in said:
        if word == STOP:
            return
        database.wake()
    os._exit(1)
