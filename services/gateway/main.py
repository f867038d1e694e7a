"""Wires the gateway: `python -m services.gateway.main`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import REGISTRY, start_http_server

from services.gateway.adapters.completions import InteractionCompletions
from services.gateway.adapters.erasing import GatewayRemover
from services.gateway.adapters.interaction import InteractionSink
from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.metrics import (
    PersonaCollector,
    RecorderCollector,
    RequestMeter,
    TelemetryCollector,
)
from services.gateway.adapters.personas import FeedbackPersonas
from services.gateway.adapters.rollouts import RolloutFile, RolloutFollower
from services.gateway.adapters.secrets import link_secret
from services.gateway.adapters.spool import FileSpool
from services.gateway.adapters.upstream import HttpUpstream, open_session
from services.gateway.app.answering import Answering
from services.gateway.app.exchanges import ExchangeLog
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.linking import Linker
from services.gateway.app.personas import NoPersonas, PersonaBook
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutBook
from services.gateway.app.telemetry import Telemetry
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.grpc_api import mounts
from services.gateway.http_api.application import Parts, build
from services.gateway.http_api.doors import Doors
from services.gateway.settings import GatewaySettings
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import aio_channel, calling_of
from shared.calls.server import RpcServer
from shared.configuration.settings import CommonSettings, load
from shared.configuration.tls import load_tls, with_client_ca
from shared.language.keys import fixed_keys
from shared.language.times import now
from shared.privacy.erasure import Erasing
from shared.redaction.policy import redactor_of
from shared.serving.key_follower import KeyFile, KeyFollower
from shared.serving.opening import open_event_log
from shared.serving.process import start_background
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.telemetry.setup import start_telemetry

_log = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """uvicorn raises the signal again once it has drained, which would end the process by it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def serve(common: CommonSettings, settings: GatewaySettings) -> None:
    """Serves until SIGTERM or SIGINT: then open answers end, and what waits to be logged is sent
    or stays in the spool."""
    async with contextlib.AsyncExitStack() as stack:
        application = await _application(common, settings, stack)
        config = uvicorn.Config(
            application,
            host=common.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            lifespan="on",
            http="httptools",
            proxy_headers=False,
            ssl_certfile=common.tls_cert,
            ssl_keyfile=common.tls_key,
            ssl_ca_certs=_text(settings.tls_client_ca),
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
            timeout_graceful_shutdown=int(settings.drain_s) + 1,
        )
        await DrainingServer(config).serve()


async def _application(
    common: CommonSettings, settings: GatewaySettings, stack: contextlib.AsyncExitStack
) -> FastAPI:
    folder = common.data / "gateway"
    spool = FileSpool(folder / "spool", max_bytes=settings.max_spool_mb * 1024 * 1024)
    stack.callback(spool.close)
    calling = calling_of(common)
    interaction = await stack.enter_async_context(aio_channel(common.interaction_address, calling))
    registry = await stack.enter_async_context(aio_channel(common.registry_address, calling))
    session = await stack.enter_async_context(
        open_session(settings.upstream_timeout_s, settings.connect_timeout_s)
    )
    sink = InteractionSink(interaction)
    recorder = Recorder(spool, sink, redactor_of(common, "gateway"))
    file = RolloutFile(folder / "rollout.json")
    book = _book(common, settings, file)
    follower = RolloutFollower(registry, book, file)
    upstream = HttpUpstream(session, common.vllm_replicas)
    database = _database(settings, stack)
    links = _links(settings, database, stack)
    loop = asyncio.get_running_loop()
    personas = await _personas(common, settings, stack)
    remover = GatewayRemover(
        folder / "spool",
        lambda ids: loop.call_soon_threadsafe(links.memory.forget, ids),
        lambda tenant, user_id: loop.call_soon_threadsafe(personas.forget, tenant, user_id),
    )
    _erase(common, database, remover, stack)
    linker = Linker(links, link_secret(settings.link_secret, folder / "link.secret"), now)
    log = ExchangeLog(recorder, linker, now, log_unstored=settings.log_unstored)
    keys = KeyBook(now, fixed_keys(settings.keys))
    quotas = Quotas(lambda: keys.quotas)
    file_of_keys = KeyFile(folder / "keys.json")
    key_follower = KeyFollower(common.interaction_address, calling, keys, file_of_keys)
    doors = Doors(keys, quotas, settings.max_body_mb * 1024 * 1024)
    ingesting = Ingesting(sink, quotas)
    telemetry_in = Telemetry(ingesting)
    await _serve_otlp(common, settings, doors, telemetry_in, stack)
    parts = Parts(
        doors=doors,
        answering=Answering(
            book,
            upstream,
            linker,
            log,
            now,
            seeds_allowed=settings.seeds_allowed,
            personas=personas if settings.personas else NoPersonas(),
        ),
        completions=InteractionCompletions(interaction),
        ingesting=ingesting,
        telemetry=telemetry_in,
        recorder=recorder,
        book=book,
        meter=RequestMeter(REGISTRY),
        lifespan=_lifespan(recorder, follower, key_follower, personas, settings.drain_s),
    )
    if settings.metrics_port:
        REGISTRY.register(RecorderCollector(recorder))
        REGISTRY.register(TelemetryCollector(telemetry_in))
        REGISTRY.register(PersonaCollector(personas))
        start_http_server(settings.metrics_port, addr=common.host)
    return build(parts)


async def _personas(
    common: CommonSettings, settings: GatewaySettings, stack: contextlib.AsyncExitStack
) -> PersonaBook:
    """Nobody asks it anything unless the settings say so."""
    feedback = await stack.enter_async_context(
        aio_channel(common.feedback_address, calling_of(common))
    )
    return PersonaBook(
        FeedbackPersonas(feedback), time.monotonic, settings.persona_fresh_s, settings.max_personas
    )


async def _serve_otlp(
    common: CommonSettings,
    settings: GatewaySettings,
    doors: Doors,
    telemetry_in: Telemetry,
    stack: contextlib.AsyncExitStack,
) -> None:
    """OTLP over gRPC, until `stack` is left."""
    # Its callers are the gateway's: they have keys, and are no parts of the house.
    tls = with_client_ca(load_tls(common), "TRIMTAB_GATEWAY_TLS_CLIENT_CA", settings.tls_client_ca)
    if not settings.otlp_port:
        return
    server = RpcServer(
        "gateway",
        mounts(doors, telemetry_in),
        host=common.host,
        port=settings.otlp_port,
        call_timeout_s=settings.call_timeout_s,
        drain_s=settings.drain_s,
        max_message_mb=settings.max_body_mb,
        credentials=tls.server(),
    )
    await server.start()
    stack.push_async_callback(server.drain)


def _database(settings: GatewaySettings, stack: contextlib.AsyncExitStack) -> Database:
    revisions = Path(__file__).with_name("migrations")
    database = Database(settings.database_url, revisions=revisions)
    stack.callback(database.close)
    return database


def _erase(
    common: CommonSettings,
    database: Database,
    remover: GatewayRemover,
    stack: contextlib.AsyncExitStack,
) -> None:
    """The gateway's part in erasing users, until `stack` is left."""
    log, stop = open_event_log(common), threading.Event()
    erasing = Erasing("gateway", database, log, remover)
    outbox = ("outbox", OutboxRelay(database, log).run)
    threads = [
        start_background("gateway", name, body, stop)
        for name, body in (*erasing.background(), outbox)
    ]
    stack.callback(log.close)
    for thread in threads:
        stack.callback(thread.join, 2.0)
    stack.callback(database.wake)
    stack.callback(stop.set)


def _links(
    settings: GatewaySettings, database: Database, stack: contextlib.AsyncExitStack
) -> SqlLinks:
    """With its thread running until `stack` is left; then all of them are written."""
    max_age = timedelta(days=settings.link_days)
    links = SqlLinks(database, max_links=settings.max_links, max_age=max_age)
    stop = threading.Event()
    thread = start_background("gateway", "links", links.run, stop)
    stack.callback(thread.join)
    stack.callback(stop.set)
    return links


def _book(common: CommonSettings, settings: GatewaySettings, file: RolloutFile) -> RolloutBook:
    known = file.load()
    if known is not None:
        return RolloutBook(known, "file")
    champion = Version(settings.champion, common.base_model_name)
    return RolloutBook(Rollout(0, champion), "default")


def _lifespan(
    recorder: Recorder,
    follower: RolloutFollower,
    key_follower: KeyFollower,
    personas: PersonaBook,
    drain_s: float,
) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [
            _watched("recorder", recorder.run()),
            _watched("rollout", follower.run()),
            _watched("keys", key_follower.run()),
            _watched("personas", personas.run()),
        ]
        yield
        await recorder.flush(drain_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return lifespan


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _watched(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose death ends the process, so that its supervisor starts it anew."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("%s ended by an error", name, exc_info=task.exception())
            sys.exit(1)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task


def main() -> None:
    common, settings = load(CommonSettings), load(GatewaySettings)
    start_telemetry("gateway", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    # What is there now lives for as long as the process: nothing to look through again and again.
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)
    # The chats' thread gives the interpreter away with each write to a socket; the default of 5 ms
    # is how long it would wait to have it back from the thread that writes links.
    sys.setswitchinterval(0.0001)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(common, settings))


if __name__ == "__main__":
    main()
