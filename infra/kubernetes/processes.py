"""Processes that belong to one cluster: each in a session of its own, stopped by its own pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LOG_LINES = 15


class ClusterFailed(Exception):
    """A part of a cluster died, or was not ready in time; the message has the end of its log."""


class CommandFailed(Exception):
    """A command came back with an error. `stderr` is what it said."""

    def __init__(self, command: Sequence[str], code: int, stdout: str, stderr: str) -> None:
        super().__init__(
            f"`{' '.join(command)}` failed ({code}): {stderr.strip() or stdout.strip()}"
        )
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


def run(
    command: Sequence[str | Path],
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> str:
    """What the command printed. Raises CommandFailed."""
    words = [str(word) for word in command]
    done = subprocess.run(  # noqa: S603
        words,
        input=stdin,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(words, done.returncode, done.stdout, done.stderr)
    return done.stdout


class Processes:
    """The processes of one cluster, with a log file each in `folder`. They die with the thread that started
    them, where util-linux's setpriv is installed, so that a killed test run leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in command]
        if setpriv := shutil.which("setpriv"):
            words = [setpriv, "--pdeathsig", "KILL", *words]
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603
                words,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def names(self) -> list[str]:
        return list(self._running)

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Polls until `ready`. Raises ClusterFailed once a process has died, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise ClusterFailed(
                        f"{name} died ({process.returncode}): {self._end_of_log(name)}"
                    )
            if time.monotonic() > deadline:
                told = "\n".join(f"{name}: {self._end_of_log(name)}" for name in self._running)
                raise ClusterFailed(f"{what} did not come within {timeout_s:.0f} s\n{told}")
            time.sleep(0.1)

    def stop(self, name: str) -> None:
        """Kills a process with what it started in its session. Kubernetes' own would take ten seconds to
        stop when asked."""
        process = self._running.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def memory_mib(self) -> dict[str, int]:
        """Resident memory of each process."""
        return {name: _resident_mib(process.pid) for name, process in self._running.items()}

    def _end_of_log(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def _resident_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0
