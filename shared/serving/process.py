"""A process of the platform: servers, background threads and tasks, metrics; SIGTERM drains it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import REGISTRY, start_http_server

from shared.access.admission import Access, OpenAccess
from shared.calls.server import Mount, RpcServer
from shared.configuration.settings import WRONG_SETTING, CommonSettings, ServiceSettings
from shared.configuration.tls import load_tls
from shared.language.retention import RetentionPolicy
from shared.language.times import now
from shared.log.events import EventLog
from shared.privacy.retention import Aging, Retention
from shared.serving import lineage_api, stage_api
from shared.serving.key_follower import guarded
from shared.serving.lineage import Lineage
from shared.state.database import Database
from shared.state.loop import repeat
from shared.telemetry.metrics import THREAD_DEATHS, DefectCollector, StageCollector

_log = logging.getLogger(__name__)

# (name for the logs, body): the body runs in a thread until the event is set.
Background = tuple[str, Callable[[threading.Event], None]]
# (name for the logs, coroutine): the coroutine runs beside the servers until it is cancelled.
Task = tuple[str, Callable[[], Coroutine[Any, Any, None]]]


class Server(Protocol):
    """Answers calls from `start` until `drain`, which lets open calls end."""

    async def start(self) -> int:
        """Returns the port that it listens on."""

    async def drain(self) -> None: ...


@dataclass(frozen=True)
class Process:
    """What one process runs. `groups`: the stages' names and the topics that each reads. `ready`: what must
    return before the servers start. `drain_s`: how long the threads may take to end, all of them
    together."""

    name: str
    host: str
    servers: Sequence[Server]
    database: Database
    log: EventLog
    background: Sequence[Background] = ()
    tasks: Sequence[Task] = ()
    ready: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metrics_port: int = 0
    drain_s: float = 10.0


@dataclass(frozen=True)
class Service:
    """A gRPC service as main.py wires it. `groups` and `ready` as in Process. `access`: who may call, unless
    the service follows interaction's keys; `tenant`: the only tenant that is served. `lineage`: where the
    turns of a conversation are, or why they ended. `aging`: what expires by age in its database."""

    name: str
    common: CommonSettings
    settings: ServiceSettings
    database: Database
    log: EventLog
    mounts: Sequence[Mount]
    background: Sequence[Background] = ()
    ready: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    access: Access | None = None
    tenant: str = ""
    lineage: Lineage = field(default_factory=Lineage)
    aging: Sequence[Aging] = ()


def run(service: Service) -> None:
    """Serves until SIGTERM or SIGINT; ends as `serve` does."""

    async def serving() -> None:
        await serve(_process_of(service))

    with ending_whole(service.name):
        asyncio.run(serving())


@contextmanager
def ending_whole(service: str) -> Iterator[None]:
    """Around the whole of what a process does once it has threads: an error, such as a port that is in use,
    ends the process with status 1, a wrong setting with its own. Otherwise it would first wait for its threads,
    of which some wait for others, and neither serve nor be restarted."""
    try:
        yield
    except BaseException as error:
        is_setting = isinstance(error, SystemExit) and error.code == WRONG_SETTING  # it was named
        _log.critical("%s: ending the process", service, exc_info=None if is_setting else error)
        os._exit(WRONG_SETTING if is_setting else 1)


async def serve(process: Process) -> None:
    """Serves until SIGTERM or SIGINT, then drains: servers first, then tasks, then threads. If a task or a
    thread ends with an error, the process exits with status 1, so that its supervisor restarts it."""
    stop, stopped = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    threads = [
        start_background(process.name, name, body, stop) for name, body in process.background
    ]
    tasks = [_start_task(process.name, name, work) for name, work in process.tasks]
    _start_metrics(process)
    if await _is_ready(process, stopped):
        for server in process.servers:
            _log.info("%s is serving on %s:%s", process.name, process.host, await server.start())
        await stopped.wait()
        await asyncio.gather(*(server.drain() for server in process.servers))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stop.set()
    process.database.wake()
    await asyncio.to_thread(join_all, threads, process.drain_s)
    process.log.close()
    process.database.close()


async def _is_ready(process: Process, stopped: asyncio.Event) -> bool:
    """Waits for what must come first. False if the process is to stop."""
    stopping = asyncio.ensure_future(stopped.wait())
    coming = asyncio.gather(*(one() for one in process.ready))
    await asyncio.wait((stopping, coming), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if coming.done():
        coming.result()
    else:
        coming.cancel()
    return not stopped.is_set()


def _process_of(service: Service) -> Process:
    access, tasks = _guard(service)
    server = RpcServer(
        service.name,
        [
            *service.mounts,
            *stage_api.mounts(service.name, service.database, service.log, service.groups),
            lineage_api.mount(service.name, service.log, service.groups, service.lineage),
        ],
        host=service.common.host,
        port=service.settings.port,
        call_timeout_s=service.settings.call_timeout_s,
        drain_s=service.settings.drain_s,
        max_message_mb=service.settings.max_message_mb,
        access=access,
        credentials=load_tls(service.common).server(),
    )
    return Process(
        name=service.name,
        host=service.common.host,
        servers=[server],
        database=service.database,
        log=service.log,
        background=[
            *service.background,
            forgetting(service.common, service.database, service.aging),
        ],
        tasks=tasks,
        ready=service.ready,
        groups=service.groups,
        metrics_port=service.settings.metrics_port,
        drain_s=service.settings.drain_s,
    )


def forgetting(common: CommonSettings, database: Database, aging: Sequence[Aging]) -> Background:
    """The thread that removes what has expired from a service's database, by TRIMTAB_RETENTION."""
    policy = RetentionPolicy(common.retention)
    retention = Retention(database, aging, policy, now, common.seen_days, common.topic_days)
    return "retention", repeat("retention", retention.once, idle_s=retention.rest_s)


def _guard(service: Service) -> tuple[Access, list[Task]]:
    """Who may call, and the task that keeps its keys fresh: without it a key would never be revoked here."""
    if service.access is not None or not service.common.require_keys:
        return service.access or OpenAccess(), []
    access, follower = guarded(service.common, service.name, service.tenant)
    return access, [("keys", follower.run)]


def _start_task(
    service: str, name: str, work: Callable[[], Coroutine[Any, Any, None]]
) -> asyncio.Task[None]:
    """A task that ends the process if it ends with an error."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical(
                "%s: task %s ended with an error; ending the process",
                service,
                name,
                exc_info=error,
            )
            os._exit(1)

    task = asyncio.create_task(work(), name=name)
    task.add_done_callback(ended)
    return task


def join_all(threads: Sequence[threading.Thread], within_s: float) -> None:
    """Waits for all threads, no longer than `within_s` in all."""
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            _log.warning("thread %s did not end within %s s", thread.name, within_s)


def start_background(
    service: str, name: str, body: Callable[[threading.Event], None], stop: threading.Event
) -> threading.Thread:
    """A thread that ends the process if it ends with an error."""

    def guarded() -> None:
        try:
            body(stop)
        except BaseException:
            THREAD_DEATHS.labels(service).inc()
            _log.exception("%s: thread %s ended with an error; ending the process", service, name)
            os._exit(1)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def _start_metrics(process: Process) -> None:
    if not process.metrics_port:
        return
    meter = stage_api.LagMeter(process.log, process.groups)
    StageCollector(process.name, process.database.counts, meter).register()
    REGISTRY.register(DefectCollector())
    start_http_server(process.metrics_port, addr=process.host)
