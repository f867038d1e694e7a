"""The doors that take several items, in front of a real interaction service whose journal is a list."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from services.cli.adapters.files import LocalFiles
from services.cli.adapters.grpc_import import GrpcImport
from services.cli.app.importing import Import, Importer
from services.cli.domain.formats import Reader
from services.cli.domain.records import Imported
from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.adapters.interaction import InteractionSink
from services.gateway.adapters.memory import LinkMemory
from services.gateway.app.answers import NewestAnswers
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.app.linking import Linker
from services.gateway.grpc_api import mounts
from services.gateway.http_api import ingest, langfuse, otlp, problems
from services.gateway.http_api.admission import Admission
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.codec import events_of
from services.interaction.turns.domain.acceptance import Limits
from services.interaction.turns.grpc_api import mount
from services.interaction.turns.ports import Item
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel
from shared.calls.server import RpcServer
from shared.language.keys import fixed_keys
from shared.language.times import now

T = TypeVar("T")
KEY = "key"
REASON = re.compile(r"[A-Z][A-Z_0-9]+")
# What a protobuf string may be.
UTF8 = st.text(max_size=8) | st.sampled_from(["[", '[{"role": "user"', "[" * 2000, "x" * 300])
MANY = settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class ListJournal:
    def __init__(self) -> None:
        self.items: list[Item] = []

    async def write(self, items: Sequence[Item]) -> None:
        events_of(items)
        self.items += items


class Doors:
    """On an event loop of their own, as the command line blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.journal = folder, ListJournal()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def open(self) -> None:
        self._thread.start()
        self.run(self._open())

    def close(self) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def took(self, number: int) -> bool:
        """Whether an item that says "good NUMBER" came in."""
        return any(f"good {number}" in repr(item) for item in self.journal.items)

    def post(self, path: str, body: bytes, media: str = "application/json") -> httpx.Response:
        headers = {"content-type": media, "authorization": f"Bearer {KEY}"}
        return self.run(self._http.post(path, content=body, headers=headers))

    def import_(self, lines: Sequence[bytes], form: str) -> tuple[Imported, list[dict[str, Any]]]:
        """The sum, and the lines of the report."""
        source, report = self.folder / "x.jsonl", self.folder / "refused.jsonl"
        source.write_bytes(b"\n".join(lines))
        report.unlink(missing_ok=True)
        target = GrpcImport(self.address, "acme", Calling())
        files = LocalFiles()
        progress = files.progress(source, {}, self.folder / "progress")
        importer = Importer(target, lambda seconds: None)
        work = Import(files, importer, Reader(form), report, progress)
        try:
            done = work.all(source, 0, lambda record, sum_: None)
        finally:
            target.close()
        refused = report.read_text().split("\n") if report.exists() else []
        return done, [json.loads(line) for line in refused if line]

    async def _open(self) -> None:
        intake = Intake(self.journal, Limits(), now)
        reads: Any = None
        self._interaction = RpcServer(
            "interaction", [mount(intake, Conversations(reads))], drain_s=0.1
        )
        self.address = f"127.0.0.1:{await self._interaction.start()}"
        self.channel = aio_channel(self.address)
        authenticator = KeyAuthenticator(KeyBook(now, fixed_keys({KEY: "acme"})), Quotas(dict))
        ingesting = Ingesting(InteractionSink(self.channel), Quotas(dict))
        linker = Linker(LinkMemory(), b"secret", now)
        answers = NewestAnswers()
        telemetry = CustomerTelemetry(ingesting, linker, answers=answers)
        self._otlp = RpcServer("gateway", mounts(authenticator, telemetry), drain_s=0.1)
        self.otlp = aio_channel(f"127.0.0.1:{await self._otlp.start()}")
        application, admission = FastAPI(), Admission(authenticator, 10_000_000)
        ingest.add_routes(application, admission, ingesting)
        otlp.add_routes(application, admission, telemetry)
        scores = LangfuseScores(ingesting, answers)
        langfuse.add_routes(application, admission, scores)
        problems.install(application)
        transport = httpx.ASGITransport(application)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def _close(self) -> None:
        await self._http.aclose()
        for channel in (self.otlp, self.channel):
            await channel.close()
        for server in (self._otlp, self._interaction):
            await server.drain()
