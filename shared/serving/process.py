"""A service's process: server, background threads, metrics; SIGTERM drains it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import start_http_server

from shared.access.admission import Access, OpenAccess
from shared.calls.server import Mount, RpcServer
from shared.configuration.settings import CommonSettings, ServiceSettings
from shared.configuration.tls import load_tls
from shared.log.events import EventLog
from shared.serving import lineage_api as trace_api
from shared.serving import stage_api
from shared.serving.key_follower import guarded
from shared.serving.lineage import Tracer
from shared.state.database import Database
from shared.telemetry.metrics import THREAD_DEATHS, StageCollector

_log = logging.getLogger(__name__)

# Runs until the event is set; named for the logs.
Background = tuple[str, Callable[[threading.Event], None]]


@dataclass(frozen=True)
class Service:
    """What main.py wires. `groups`: the stages' names and the topics each takes from. `access`: who
    may call, if it is not to follow interaction's keys; `tenant`: the only one that is served.
    `tracer`: where the turns of a conversation are, or why they ended."""

    name: str
    common: CommonSettings
    settings: ServiceSettings
    database: Database
    log: EventLog
    mounts: Sequence[Mount]
    background: Sequence[Background] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    access: Access | None = None
    tenant: str = ""
    tracer: Tracer = field(default_factory=Tracer)


def run(service: Service) -> None:
    """Serves until SIGTERM or SIGINT. If a background thread ends by an error, the process exits with 1,
    so that its supervisor starts it anew."""
    asyncio.run(_serve(service))


async def _serve(service: Service) -> None:
    stop, stopped = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    threads = [
        start_background(service.name, name, body, stop) for name, body in service.background
    ]
    access, following = _guard(service)
    server = RpcServer(
        service.name,
        [
            *service.mounts,
            *stage_api.mounts(service.name, service.database, service.log, service.groups),
            trace_api.mount(service.name, service.log, service.groups, service.tracer),
        ],
        host=service.common.host,
        port=service.settings.port,
        call_timeout_s=service.settings.call_timeout_s,
        drain_s=service.settings.drain_s,
        max_message_mb=service.settings.max_message_mb,
        access=access,
        credentials=load_tls(service.common).server(),
    )
    port = await server.start()
    _start_metrics(service)
    _log.info("%s serves on %s:%s", service.name, service.common.host, port)
    await stopped.wait()
    following.cancel()
    await server.drain()
    stop.set()
    service.database.wake()
    for thread in threads:
        await asyncio.to_thread(thread.join, service.settings.drain_s)
    service.log.close()
    service.database.close()


def _guard(service: Service) -> tuple[Access, asyncio.Future[None]]:
    """Who may call, and what keeps it fresh until it is cancelled."""
    if service.access is not None or not service.common.require_keys:
        return service.access or OpenAccess(), asyncio.get_running_loop().create_future()
    access, follower = guarded(service.common, service.name, service.tenant)
    following = asyncio.ensure_future(follower.run())
    following.add_done_callback(partial(_ended, service.name))
    return access, following


def _ended(service: str, following: asyncio.Future[None]) -> None:
    """Keys that nobody follows any more would never be revoked: rather start anew."""
    if not following.cancelled() and following.exception() is not None:
        _log.critical("%s follows no keys any more", service, exc_info=following.exception())
        os._exit(1)


def start_background(
    service: str, name: str, body: Callable[[threading.Event], None], stop: threading.Event
) -> threading.Thread:
    """A thread whose death by an error ends the process."""

    def guarded() -> None:
        try:
            body(stop)
        except BaseException:
            THREAD_DEATHS.labels(service).inc()
            _log.exception(
                "%s: thread %s ended by an error; the process ends with it", service, name
            )
            os._exit(1)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def _start_metrics(service: Service) -> None:
    if not service.settings.metrics_port:
        return
    meter = stage_api.LagMeter(service.log, service.groups)

    StageCollector(service.name, service.database.counts, meter).register()
    start_http_server(service.settings.metrics_port, addr=service.common.host)
