"""The gateway on in-memory ports: a scripted model server, a sink that remembers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI
from starlette.types import ASGIApp

from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.adapters.memory import LinkMemory
from services.gateway.adapters.spool import FileSpool
from services.gateway.adapters.upstream import TOKENIZE, HttpUpstream, open_session
from services.gateway.app.answering import Answering, NoReports, Reports
from services.gateway.app.answers import NewestAnswers
from services.gateway.app.counting import TokenCounting
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.exchanges import ExchangeLog
from services.gateway.app.groups import Groups, NoGroups
from services.gateway.app.histories import Histories
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.app.linking import Linker
from services.gateway.app.personas import NoPersonas, Personas
from services.gateway.app.recorder import Pace, Recorder
from services.gateway.app.rollouts import RolloutCache
from services.gateway.domain.policies import Served
from services.gateway.domain.refusals import Refused
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.domain.stored import CompletionQuery, StoredCompletion
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.application import UseCases, build
from services.gateway.ports import Links
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.contracts.turns import decode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument, NotFound, TrimtabError, Unavailable
from shared.language.keys import fixed_keys
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.policies import PolicyKey
from shared.language.turns import Turn
from tests.unit.gateway import genai
from tests.unit.gateway.disk import FullDisk
from tests.unit.gateway.model_server import ModelServer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "key-a"


class MemorySink:
    """The interaction service's twin: refuses turns whose text is "refuse me", and calls with one that says
    "spoil it"; can be away, and can fail for a tenant."""

    def __init__(self) -> None:
        # By tenant: what its calls raise.
        self.fails: dict[str, TrimtabError] = {}
        self.turns: list[Turn] = []
        self.feedback: list[tuple[str, ExplicitFeedback]] = []
        self.assessments: list[Assessment] = []
        self.preferences: list[tuple[str, Pair]] = []
        self.away = False

    async def log_turns(self, tenant: str, turns: Sequence[Turn]) -> list[Refused]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=3)
        if tenant in self.fails:
            raise self.fails[tenant]
        if any(turn.message.text == "spoil it" for turn in turns):
            raise InvalidArgument("the call cannot be read", reason="UNDECODABLE")
        refused = []
        for place, turn in enumerate(turns):
            if turn.message.text == "refuse me":
                refused.append(Refused(place, "MESSAGE_TOO_LARGE", "too large", "message"))
            else:
                self.turns.append(turn)
        return refused

    async def forward(self, tenant: str, turns: Sequence[bytes]) -> list[Refused]:
        return await self.log_turns(tenant, [decode_turn(pb.Turn.FromString(one)) for one in turns])

    async def log_feedback(
        self, tenant: str, feedback: Sequence[ExplicitFeedback]
    ) -> tuple[list[str], list[Refused]]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=3)
        self.feedback += [(tenant, one) for one in feedback]
        return [f"f{place}" for place in range(len(feedback))], []

    async def log_assessments(self, tenant: str, assessments: Any) -> list[Refused]:
        self.assessments += assessments
        return []

    async def log_preferences(
        self, tenant: str, preferences: Sequence[Pair]
    ) -> tuple[list[str], list[Refused]]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=3)
        self.preferences += [(tenant, one) for one in preferences]
        return [f"p{place}" for place in range(len(preferences))], []


class MemoryCompletions:
    """Stored completions by tenant and id, oldest first."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], StoredCompletion] = {}
        self.turns: list[Turn] = []
        self.queries: list[CompletionQuery] = []

    async def get(self, tenant: str, completion_id: str) -> StoredCompletion:
        if (tenant, completion_id) not in self.stored:
            raise NotFound("not stored", reason="COMPLETION_NOT_FOUND", field="completion_id")
        return self.stored[tenant, completion_id]

    async def page(
        self, tenant: str, query: CompletionQuery
    ) -> tuple[list[StoredCompletion], bool]:
        self.queries.append(query)
        mine = [one for (owner, _), one in self.stored.items() if owner == tenant]
        return mine[: query.size], len(mine) > query.size

    async def messages(self, tenant: str, completion_id: str) -> list[Turn]:
        await self.get(tenant, completion_id)
        return self.turns

    async def update(
        self, tenant: str, completion_id: str, said: Mapping[str, str]
    ) -> StoredCompletion:
        changed = replace(await self.get(tenant, completion_id), metadata=said)
        self.stored[tenant, completion_id] = changed
        return changed


class Gateway:
    """The whole application with its recorder running."""

    def __init__(
        self,
        folder: Path,
        replicas: int = 1,
        links: Links | None = None,
        personas: Personas | None = None,
        groups: Groups | None = None,
        cors_origins: Sequence[str] = (),
        user_headers: Sequence[str] = (),
        reports: Reports | None = None,
    ) -> None:
        self.reports = reports or NoReports()
        # The clock, and how far it goes on whenever somebody looks.
        self.time, self.passes = NOW, timedelta()
        self.cors_origins, self.user_headers = cors_origins, user_headers
        self.sink, self.model, self.replicas = MemorySink(), ModelServer(), replicas
        self.disk = FullDisk()
        self.spool = FileSpool(folder, disk=self.disk)
        self.personas, self.groups = personas or NoPersonas(), groups or NoGroups()
        self.recorder = Recorder(self.spool, self.sink, pace=Pace(0.01, 0.01, 0.05))
        self.completions = MemoryCompletions()
        self.histories = Histories(self.completions, time.monotonic, within_s=0.0)
        self.linker = Linker(links or LinkMemory(), b"secret", lambda: NOW)
        self.rollouts = RolloutCache(Rollout(0, Version("assistant-v0", "base")))
        self.measured: list[tuple[str, int, str]] = []
        self.keys = KeyBook(lambda: NOW, fixed_keys({KEY: "local", "key-b": "other"}))
        self.quotas = Quotas(lambda: self.keys.quotas)

    def _now(self) -> datetime:
        self.time += self.passes
        return self.time

    def _build(self, upstream: HttpUpstream, tokenizers: HttpUpstream) -> ASGIApp:
        authenticator = KeyAuthenticator(self.keys, self.quotas)
        log = ExchangeLog(self.recorder, self.linker, lambda: NOW)
        ingesting, answers = Ingesting(self.sink, Quotas(dict)), NewestAnswers()
        return build(
            UseCases(
                admission=Admission(authenticator, 100_000),
                quota=authenticator,
                answering=Answering(
                    self.rollouts,
                    upstream,
                    self.linker,
                    log,
                    self._now,
                    personas=self.personas,
                    groups=self.groups,
                    user_headers=self.user_headers,
                    reports=self.reports,
                ),
                counting=TokenCounting(self.rollouts, tokenizers, self.groups, self.user_headers),
                completions=self.completions,
                histories=self.histories,
                ingesting=Ingesting(self.sink, authenticator),
                telemetry=CustomerTelemetry(ingesting, self.linker, answers=answers),
                scores=LangfuseScores(ingesting, answers),
                recorder=self.recorder,
                rollouts=self.rollouts,
                keys_connected=lambda: True,
                meter=lambda route, status, version, _: self.measured.append(
                    (route, status, version)
                ),
                lifespan=self._lifespan,
            ),
            self.cors_origins,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield

    async def __aenter__(self) -> "Gateway":
        self.session = open_session(5.0, 1.0)
        self.urls = await self.model.start(self.replicas)
        self.application = self._build(
            HttpUpstream(self.session, self.urls), HttpUpstream(self.session, self.urls, TOKENIZE)
        )
        transport = httpx.ASGITransport(self.application)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        self.http.headers["authorization"] = f"Bearer {KEY}"
        self.openai = AsyncOpenAI(
            api_key=KEY,
            base_url="http://gateway/v1",
            http_client=self.http,  # type: ignore[arg-type]  # it also takes what httpx makes
            max_retries=0,
        )
        self.task = asyncio.create_task(self.recorder.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await self.http.aclose()
        await self.session.close()
        await self.model.stop()
        self.spool.close()

    def serve(self, rollout: Rollout, policy: str = "assistant", tenant: str = "local") -> None:
        """As if the registry said so."""
        self.rollouts.heard([Served(PolicyKey(tenant, policy), rollout)], whole=False)

    async def logged(self) -> list[Turn]:
        """What reached the sink once everything was forwarded."""
        await self.recorder.flush(5)
        assert self.recorder.pending == 0
        return self.sink.turns


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path / "spool") as running:
        yield running


@pytest.fixture
def start_gateway() -> Callable[..., Gateway]:
    return Gateway


async def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def sink() -> genai.MemorySink:
    """Where what is reported over OpenTelemetry arrives."""
    return genai.MemorySink()


@pytest.fixture
def telemetry(sink: genai.MemorySink) -> CustomerTelemetry:
    return CustomerTelemetry(Ingesting(sink, Quotas(dict)), genai.a_linker())
