"""A service's work in a separate process, so that it does not compete with calls for the interpreter.

The service starts the process and controls it through its standard input: `wake` makes it look for what
the service committed, `stop` ends it cleanly, and end of input means that the service is gone, even by
kill -9: then the process ends immediately. Through a pipe the process tells when it works. Signals are left to
the service: those that a terminal or a supervisor sends to all processes are ignored, from the first moment
on, as the process begins with them blocked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from shared.serving.process import Background, join_all, start_background
from shared.state.database import Database

_log = logging.getLogger(__name__)
# How often `run` checks whether the process works, and afterwards whether it has ended, in seconds.
_FIRST_LOOKS_S, _LOOKS_S = 0.05, 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# One heap for all threads: with one per thread, memory that large batches freed can stay with the process.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
WAKE, STOP, READY = b"wake\n", b"stop\n", b"ready\n"
# The variable with the number of the file to write READY to.
_TELLS = "TRIMTAB_ASIDE_READY_FD"


class Aside:
    """`run` is the body of a background thread of the service: it starts `python -m module`, and ends it when
    the service stops. If the process ends by itself, `run` raises RuntimeError, which ends the service."""

    def __init__(self, module: str, drain_s: float) -> None:
        self._module, self._drain_s = module, drain_s
        self._process: subprocess.Popen[bytes] | None = None
        self._speaking, self._works = threading.Lock(), threading.Event()

    async def ready(self) -> None:
        """Returns once the process works, or has ended."""
        await asyncio.to_thread(self._works.wait)

    def run(self, stop: threading.Event) -> None:
        hears, tells = os.pipe()
        try:
            with self._started(tells) as process, os.fdopen(hears, "rb", buffering=0) as heard:
                self._process = process
                self._attend(process, heard, stop)
        finally:
            self._works.set()  # nobody waits for it any more

    def _attend(
        self, process: subprocess.Popen[bytes], heard: IO[bytes], stop: threading.Event
    ) -> None:
        while not stop.wait(_LOOKS_S if self._works.is_set() else _FIRST_LOOKS_S):
            if process.poll() is not None:
                raise RuntimeError(f"{self._module} ended with {process.returncode}")
            if not self._works.is_set() and _hears_ready(heard):
                self._works.set()
        self._say(STOP)
        try:
            process.wait(self._drain_s)
        except subprocess.TimeoutExpired:
            _log.warning("%s did not end within %s s", self._module, self._drain_s)
            process.kill()

    def _started(self, tells: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self._module]
        environment = {**os.environ, **_ENVIRONMENT, _TELLS: str(tells)}
        try:
            with _signals_blocked():
                return subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.PIPE, env=environment, pass_fds=(tells,)
                )
        finally:
            os.close(tells)

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
    _ignore_signals()
    stop = threading.Event()
    threads = [start_background(service, name, body, stop) for name, body in background]
    _tell_ready()
    _listen(sys.stdin.buffer, database)
    stop.set()
    database.wake()
    join_all(threads, drain_s)


def _listen(said: Iterable[bytes], database: Database) -> None:
    """Returns on STOP. At the end of input ends the process immediately, with status 1."""
    for word in said:
        if word == STOP:
            return
        database.wake()
    os._exit(1)


def _hears_ready(heard: IO[bytes]) -> bool:
    said, _, _ = select.select([heard], [], [], 0.0)
    return bool(said) and heard.read(len(READY)) == READY


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """In this thread, and in a process that it starts meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_signals() -> None:
    """Also those that have come since the process began."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _tell_ready() -> None:
    """Without effect in a process that was not started by an Aside."""
    if tells := os.environ.pop(_TELLS, ""):
        with suppress(OSError), os.fdopen(int(tells), "wb") as file:
            file.write(READY)
