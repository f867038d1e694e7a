"""The process supervisor: its configuration file, its life cycle and its control socket.

supervisord restarts what dies. It starts nothing by itself: the stack tells it what to start, and when.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from infra.local.programs import Program

STOP_WAIT_S = 20
START_WAIT_S = 30
# One machine runs everything: what answers users goes first, and what is logged of it waits a little.
_YIELDING = ("nice", "-n", "10")
# States of a part that is running, or is about to.
_RUNS = ("RUNNING", "STARTING", "BACKOFF")


class Supervisor:
    """One supervisord for one folder; `folder` holds its configuration, log and pid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._config = folder / "supervisord.conf"
        # Outside the folder: the path of a socket may have at most 107 characters.
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self._socket = Path(tempfile.gettempdir()) / f"trimtab-{os.getuid()}-{name}.sock"

    def log_of(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def is_running(self) -> bool:
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, Fault):
            return False

    def ensure(self, programs: Iterable[Program]) -> None:
        """Makes sure that a supervisord runs with exactly `programs`. Running parts keep running, and restart
        if their command or environment changed."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._config.write_text(self._configuration(programs))
        if self.is_running():
            self._reload()
        else:
            self._launch()

    def start(self, part: str) -> None:
        """Starts a part unless it is already running."""
        if self.info(part)["statename"] not in _RUNS:
            self._call("startProcess", part, False)

    def stop(self, part: str) -> None:
        if self.info(part)["statename"] in _RUNS:
            self._call("stopProcess", part, True)

    def info(self, part: str) -> dict[str, Any]:
        """supervisor's own record: statename, pid, start, now, spawnerr and more."""
        return dict(self._call("getProcessInfo", part))

    def shutdown(self) -> None:
        """Stops all parts together, then supervisord; returns when its process is gone.

        If it does not end in time it is killed; the caller cleans up what it leaves behind.
        """
        if not self.is_running():
            return
        pid = int(self._call("getPID"))
        # Left to itself, supervisord would stop one part after another.
        self._call("stopAllProcesses", False)
        _wait(lambda: not self._any_runs(), STOP_WAIT_S + 5)
        self._call("shutdown")
        if not _wait(lambda: not _alive(pid), STOP_WAIT_S):
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kills only supervisord, with SIGKILL, so that it restarts nothing; its parts are the caller's."""
        if self.is_running():
            os.kill(int(self._call("getPID")), signal.SIGKILL)
            self._socket.unlink(missing_ok=True)

    def _any_runs(self) -> bool:
        return any(one["pid"] for one in self._call("getAllProcessInfo"))

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport("", "", f"unix://{self._socket}")
        # The client insists on an address; the transport uses the socket.
        with ServerProxy("http://localhost", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _launch(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        subprocess.run(command, check=True, cwd=self.folder)  # noqa: S603
        if not _wait(self.is_running, START_WAIT_S):
            raise TimeoutError(f"supervisord did not start; see {self.folder}/supervisord.log")

    def _reload(self) -> None:
        [[added, changed, removed]] = self._call("reloadConfig")
        ran = [name for name in changed if self.info(name)["statename"] in _RUNS]
        for group in changed + removed:
            self._call("stopProcessGroup", group)
            self._call("removeProcessGroup", group)
        for group in added + changed:
            self._call("addProcessGroup", group)
        for name in ran:
            self.start(name)

    def _configuration(self, programs: Iterable[Program]) -> str:
        files = {"logfile": "supervisord.log", "pidfile": "supervisord.pid"}
        sections: dict[str, dict[str, object]] = {
            "unix_http_server": {"file": self._socket, "chmod": "0700"},
            "supervisord": {key: self.folder / name for key, name in files.items()},
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": (
                    "supervisor.rpcinterface:make_main_rpcinterface"
                )
            },
        }
        sections |= {f"program:{one.name}": self._program(one) for one in programs}
        return "\n".join(_section(name, fields) for name, fields in sections.items())

    def _program(self, program: Program) -> dict[str, object]:
        user = {"user": program.user} if program.user else {}
        command = program.command if program.is_serving else (*_YIELDING, *program.command)
        return user | {
            "stopsignal": program.stop_signal,
            "command": " ".join(_quoted(word) for word in command),
            "environment": ",".join(f"{k}={_quoted(v)}" for k, v in program.environment.items()),
            "autostart": "false",
            "autorestart": "true",
            # A service that dies while Kafka is unavailable must come back when Kafka does, however late.
            "startretries": 1000,
            "stopwaitsecs": STOP_WAIT_S,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self.log_of(program.name),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": 1,
        }


def _quoted(word: str) -> str:
    """A word quoted for supervisor's parsers: in single quotes, with % doubled."""
    if "'" in word or "\n" in word:
        raise ValueError(f"supervisor's configuration cannot contain {word!r}")
    return "'" + word.replace("%", "%%") + "'"


def _section(name: str, fields: dict[str, object]) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in fields.items())
    return f"[{name}]\n{lines}"


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Polls until the condition holds; False if it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
