"""The local stack as an object: start it, query it, break it, stop it.

stack = LocalStack(load_on_free_ports(tmp_path))
stack.up(only=["kafka"])
stack.kill("kafka")            # SIGKILL; the supervisor starts it again
stack.wait_ready(["kafka"])
stack.down()
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local import kafka, ports, postgresql, strays
from infra.local.environment import as_shell, databases, environment
from infra.local.programs import Program, programs
from infra.local.settings import StackSettings
from infra.local.supervisor import Supervisor

# vLLM takes a minute to start on two idle cores, and several on busy ones.
READY_TIMEOUT_S = 480.0
DEATH_S = 10.0
# A part that has been restarted this often while we waited will not come up.
STARTS_ALLOWED = 3
LOG_LINES = 25


class PartFailed(Exception):
    """A part did not become ready; the message ends with the last lines of its log and the log's path."""


@dataclass(frozen=True)
class PartState:
    """One row of the status table. `state` is supervisor's; `health` is ok, failing or -."""

    part: str
    state: str
    pid: int
    uptime_s: int
    port: int
    health: str

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


class LocalStack:
    """Owns the processes of one data folder. May be constructed again while the stack is running.

    `say` gets each progress message, `on_ready` the name of each part as it becomes ready.
    """

    def __init__(
        self,
        settings: StackSettings,
        say: Callable[[str], None] = print,
        on_ready: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.programs = programs(settings)
        self._say, self._on_ready = say, on_ready
        self._supervisor = Supervisor(settings.run_folder)

    def env(self) -> dict[str, str]:
        """The variables with which a client or a service finds this stack."""
        return environment(self.settings)

    def up(
        self,
        only: Sequence[str] = (),
        timeout_s: float = READY_TIMEOUT_S,
        later: Sequence[str] = (),
    ) -> None:
        """Starts the named parts (default: all) and returns when every health check passes, except for those
        in `later`: call `wait_ready` for them.

        Parts that already run are left alone. Raises PortTaken before anything starts, and PartFailed if a part
        keeps dying or is not ready in time.
        """
        chosen = self._chosen(only)
        self._require_ports(chosen)
        self._prepare(chosen)
        self._supervisor.ensure(self.programs.values())
        real = [name for name in chosen if not self.programs[name].is_service]
        services = [name for name in chosen if self.programs[name].is_service]
        began = time.monotonic()
        for name in real:
            self._supervisor.start(name)
        # Services themselves wait for anything else that they need.
        first = [name for name in ("kafka", "postgresql") if services and name in real]
        if first:
            self.wait_ready(first, timeout_s, began)
            real = [name for name in real if name not in first]
        if "postgresql" in first:
            postgresql.make_databases(self.settings, databases(self.settings))
        for name in services:
            self._supervisor.start(name)
        awaited = [name for name in real + services if name not in later]
        if awaited:
            self.wait_ready(awaited, timeout_s, began)

    def wait_ready(
        self,
        parts: Sequence[str] = (),
        timeout_s: float = READY_TIMEOUT_S,
        began: float | None = None,
    ) -> None:
        """Waits for the health checks of `parts` and reports each as it passes."""
        began = time.monotonic() if began is None else began
        pending = {name: Starts() for name in self._chosen(parts)}
        while pending:
            for name in [name for name in pending if self._is_ready(name)]:
                del pending[name]
                self._say(f"  {name} ready after {time.monotonic() - began:.0f} s")
                self._on_ready(name)
            for name, starts in pending.items():
                if starts.seen(self._supervisor.info(name)["start"]) > STARTS_ALLOWED:
                    raise self._failure(name, "keeps dying")
            if pending and time.monotonic() - began > timeout_s:
                raise self._failure(next(iter(pending)), f"is not ready after {timeout_s:.0f} s")
            time.sleep(0.2 if pending else 0)

    def down(self) -> None:
        """Stops everything, stray processes included. Does nothing if nothing runs."""
        self._supervisor.shutdown()
        strays.kill_strays(self.settings.data)

    def discard(self) -> None:
        """Stops everything immediately with SIGKILL: for a stack whose data is no longer needed."""
        self._supervisor.kill()
        strays.kill_strays(self.settings.data)

    def restart(self, parts: Sequence[str]) -> None:
        """Stops and starts parts, for example to load new code; returns when they are ready."""
        for name in self._chosen(parts):
            self._supervisor.stop(name)
        self.up(parts)

    def kill(self, part: str) -> int:
        """Kills a running part and its children with SIGKILL; returns its pid. The supervisor restarts it.

        Returns once the supervisor has noticed. Until then it reports the dead process's pid, which would look
        like the restarted part.
        """
        pid = self.pid(part)
        if pid == 0:
            raise ProcessLookupError(f"{part} is not running")
        os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_S
        while self.pid(part) == pid:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{part} (pid {pid}) is still alive {DEATH_S:.0f} s after SIGKILL"
                )
            time.sleep(0.01)
        return pid

    def pid(self, part: str) -> int:
        """The pid of a part; 0 if it is not running."""
        return int(self._supervisor.info(part)["pid"])

    def is_running(self) -> bool:
        return self._supervisor.is_running()

    def status(self) -> list[PartState]:
        """One row per part; the health of those that run is checked."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._state, self.programs))

    def log_of(self, part: str) -> Path:
        return self._supervisor.log_of(part)

    def _chosen(self, only: Sequence[str]) -> list[str]:
        unknown = set(only) - set(self.programs)
        if unknown:
            known = ", ".join(self.programs)
            raise ValueError(f"no such part: {', '.join(sorted(unknown))}; choose from {known}")
        return [name for name in self.programs if not only or name in only]

    def _require_ports(self, chosen: list[str]) -> None:
        held = self.settings.ports()
        idle = {name: held[name] for name in chosen if not self._runs(name)}
        ports.require_free(self.settings.host, idle)

    def _prepare(self, chosen: list[str]) -> None:
        """Creates the folders that parts expect, and the environment file."""
        settings = self.settings
        folders = [settings.run_folder, settings.adapters]
        kinds = [name for name, one in settings.services.items() if not one.replica_of]
        folders += [settings.data / name for name in ("mlflow", *kinds)]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        (settings.run_folder / "env").write_text(as_shell(self.env()))
        if "kafka" in chosen and not self._runs("kafka"):
            kafka.prepare(settings)
        if "postgresql" in chosen and not self._runs("postgresql"):
            postgresql.prepare(settings)

    def _runs(self, name: str) -> bool:
        return self._supervisor.is_running() and self.pid(name) != 0

    def _is_ready(self, name: str) -> bool:
        """Healthy and ours: another process on the same port has no pid here."""
        return self.pid(name) != 0 and _health(self.programs[name]) == "ok"

    def _state(self, name: str) -> PartState:
        port = self.programs[name].ports[0]
        if not self.is_running():
            return PartState(name, "STOPPED", 0, 0, port, "-")
        info = self._supervisor.info(name)
        pid, state = int(info["pid"]), str(info["statename"])
        if pid == 0:
            return PartState(name, state, 0, 0, port, "-")
        uptime_s = int(info["now"]) - int(info["start"])
        return PartState(name, state, pid, uptime_s, port, _health(self.programs[name]))

    def _failure(self, name: str, what: str) -> PartFailed:
        log = self.log_of(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        shown = "\n".join(f"  | {line}" for line in lines[-LOG_LINES:])
        return PartFailed(f"{name} {what}. Last lines of {log}:\n{shown}")


class Starts:
    """Counts how often a part has been started, from the start times observed."""

    def __init__(self) -> None:
        self._times: set[int] = set()

    def seen(self, start: int) -> int:
        if start:
            self._times.add(start)
        return len(self._times)


def _health(program: Program) -> str:
    try:
        program.ready()
    except Exception:
        # Whatever went wrong, the part is not healthy.
        return "failing"
    return "ok"
