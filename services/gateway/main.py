"""Wires the gateway: `python -m services.gateway.main`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import uvloop
from fastapi import FastAPI
from prometheus_client import REGISTRY

from services.gateway.adapters.answer_reports import RegistryReports
from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.adapters.completions import InteractionCompletions
from services.gateway.adapters.erasing import GatewayRemover
from services.gateway.adapters.groups import NobodysGroups, RewardGroups
from services.gateway.adapters.interaction import InteractionSink
from services.gateway.adapters.link_table import AGING
from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.metrics import (
    KnownUsersCollector,
    RecorderCollector,
    ReportsCollector,
    RequestMeter,
    TelemetryCollector,
    WatchCollector,
)
from services.gateway.adapters.personas import FeedbackPersonas
from services.gateway.adapters.rewards import NoScorer, RewardScorer
from services.gateway.adapters.rollouts import RolloutFile, RolloutFollower
from services.gateway.adapters.secrets import link_secret
from services.gateway.adapters.spool import FileSpool
from services.gateway.adapters.upstream import TOKENIZE, HttpUpstream, open_session
from services.gateway.app.answer_reports import AnswerReports
from services.gateway.app.answering import Answering
from services.gateway.app.answers import NewestAnswers
from services.gateway.app.counting import TokenCounting
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.exchanges import ExchangeLog
from services.gateway.app.groups import GroupsAhead
from services.gateway.app.histories import Histories
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.app.linking import Linker
from services.gateway.app.personas import NoPersonas
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutCache
from services.gateway.app.shadow import Shadow
from services.gateway.app.user_cache import Keeping, KnownUsers, UserCache
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.application import Lifespan, UseCases, build
from services.gateway.settings import GatewaySettings
from services.gateway.wiring import http_server, otlp_servers
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import aio_channel, calling_of
from shared.configuration.settings import CommonSettings, load
from shared.language.keys import fixed_keys
from shared.language.retention import RetentionPolicy
from shared.language.times import now
from shared.log.events import EventLog
from shared.privacy.erasure import Erasing
from shared.redaction.policy import redactor_of
from shared.serving.key_follower import KeyFile, KeyFollower
from shared.serving.opening import open_event_log
from shared.serving.process import Process, Task, ending_whole, forgetting, serve
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.telemetry.setup import start_telemetry

# Its calls may be repeated: everything has an id, and counts once.
_INTERACTION = "trimtab.interaction.v1.InteractionService"
# After how many times as long as it is fresh a persona is no longer used.
_PERSONAS_FOR = 10
# How long what is known of a user's groups is used: more than the time between two chats of somebody who comes
# every day, whose first answer would otherwise always be the one for everyone else.
_GROUPS_FOR_S = 36 * 3600.0


@dataclass(frozen=True)
class Peers:
    """The services that the gateway calls."""

    interaction: grpc.aio.Channel
    registry: grpc.aio.Channel
    feedback: grpc.aio.Channel
    # None without an address.
    reward: grpc.aio.Channel | None
    models: aiohttp.ClientSession


async def open_peers(
    common: CommonSettings, settings: GatewaySettings, stack: contextlib.AsyncExitStack
) -> Peers:
    calling = calling_of(common)

    async def opened(address: str, repeated: str = "") -> grpc.aio.Channel:
        return await stack.enter_async_context(aio_channel(address, calling, repeated))

    session = open_session(settings.upstream_timeout_s, settings.connect_timeout_s)
    return Peers(
        interaction=await opened(common.interaction_address, _INTERACTION),
        registry=await opened(common.registry_address),
        feedback=await opened(common.feedback_address),
        reward=await opened(common.reward_address) if common.reward_address else None,
        models=await stack.enter_async_context(session),
    )


async def wire(
    common: CommonSettings, settings: GatewaySettings, stack: contextlib.AsyncExitStack
) -> Process:
    """What is opened here is closed by `stack` after the process was drained."""
    peers = await open_peers(common, settings, stack)
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    spool = FileSpool(_folder(common) / "spool", max_bytes=settings.max_spool_mb * 1024 * 1024)
    stack.callback(spool.close)
    links, users = wire_links(settings, database), wire_users(settings, peers)
    histories = Histories(InteractionCompletions(peers.interaction), time.monotonic)
    answers = NewestAnswers()
    authenticator, keys = wire_access(common, settings)
    rollouts, follow_rollouts = wire_rollouts(common, settings, peers.registry)
    shadow = Shadow(
        HttpUpstream(peers.models, common.vllm_replicas),
        RewardScorer(peers.reward) if peers.reward is not None else NoScorer(),
        users.groups,
    )
    reports = AnswerReports(RegistryReports(peers.registry), users.groups, shadow)
    use_cases = wire_use_cases(
        common, settings, peers, reports=reports, spool=spool, links=links, users=users, histories=histories,
        answers=answers, authenticator=authenticator, rollouts=rollouts, keys=keys,
    )  # fmt: skip
    register_collectors(use_cases, users, reports, shadow)
    erasing = wire_erasing(
        database, log, spool, links=links, histories=histories, answers=answers, users=users,
        reports=reports,
    )  # fmt: skip
    return Process(
        name="gateway",
        host=common.host,
        servers=[
            http_server(build(use_cases, settings.origins), common, settings),
            *otlp_servers(authenticator, use_cases.telemetry, common, settings),
        ],
        database=database,
        log=log,
        background=[
            ("links", links.run),
            ("links.pruning", links.pruning()),
            forgetting(common, database, AGING),
            *erasing.background(),
            ("outbox", OutboxRelay(database, log).run),
        ],
        tasks=[
            ("recorder", use_cases.recorder.run),
            ("personas", users.personas.run),
            ("groups", users.groups.run),
            ("groups.ahead", GroupsAhead(rollouts, users.source, users.groups).run),
            follow_rollouts,
            ("answer.reports", reports.run),
            ("shadow", partial(shadow.run, reports.put)),
            ("keys", keys.run),
        ],
        groups=erasing.groups,
        metrics_port=settings.metrics_port,
        drain_s=settings.drain_s,
    )


def wire_use_cases(
    common: CommonSettings,
    settings: GatewaySettings,
    peers: Peers,
    *,
    reports: AnswerReports,
    spool: FileSpool,
    links: SqlLinks,
    users: KnownUsers,
    histories: Histories,
    answers: NewestAnswers,
    authenticator: KeyAuthenticator,
    rollouts: RolloutCache,
    keys: KeyFollower,
) -> UseCases:
    sink = InteractionSink(peers.interaction)
    recorder = wire_recorder(common, settings, spool, sink)
    ingesting = Ingesting(sink, authenticator)
    linker = Linker(links, link_secret(settings.link_secret, _folder(common) / "link.secret"), now)
    answering = wire_answering(
        common, settings, peers.models, rollouts=rollouts, recorder=recorder, linker=linker, users=users,
        reports=reports,
    )  # fmt: skip
    tokenizers = HttpUpstream(peers.models, common.vllm_replicas, TOKENIZE)
    return UseCases(
        admission=Admission(authenticator, settings.max_body_mb * 1024 * 1024),
        quota=authenticator,
        answering=answering,
        counting=TokenCounting(rollouts, tokenizers, users.groups, settings.headers_of_users),
        completions=InteractionCompletions(peers.interaction),
        histories=histories,
        ingesting=ingesting,
        telemetry=CustomerTelemetry(ingesting, linker, answers=answers),
        scores=LangfuseScores(ingesting, answers),
        recorder=recorder,
        rollouts=rollouts,
        keys_connected=lambda: keys.connected,
        meter=RequestMeter(REGISTRY),
        lifespan=_flushing(recorder, settings.drain_s),
    )


def _folder(common: CommonSettings) -> Path:
    return common.data / "gateway"


def wire_recorder(
    common: CommonSettings, settings: GatewaySettings, spool: FileSpool, sink: InteractionSink
) -> Recorder:
    """Waiting turns are kept no longer than their tenant's stored ones."""
    policy = RetentionPolicy(common.retention)

    def days(tenant: str) -> float:
        stored = policy.of(tenant).store_days
        return min(settings.spool_days, stored) if stored else settings.spool_days

    return Recorder(spool, sink, redactor_of(common, "gateway"), keep_days=days)


def wire_rollouts(
    common: CommonSettings, settings: GatewaySettings, registry: grpc.aio.Channel
) -> tuple[RolloutCache, Task]:
    file = RolloutFile(_folder(common) / "rollout.json")
    first = Rollout(0, Version(settings.champion, common.base_model_name))
    cache = RolloutCache(first, file.load())
    return cache, ("rollout", RolloutFollower(registry, cache, file).run)


def wire_access(
    common: CommonSettings, settings: GatewaySettings
) -> tuple[KeyAuthenticator, KeyFollower]:
    book = KeyBook(now, fixed_keys(settings.keys))
    file = KeyFile(_folder(common) / "keys.json")
    follower = KeyFollower(common.interaction_address, calling_of(common), book, file)
    return KeyAuthenticator(book, Quotas(lambda: book.quotas)), follower


def wire_links(settings: GatewaySettings, database: Database) -> SqlLinks:
    max_age = timedelta(days=settings.link_days)
    return SqlLinks(database, max_links=settings.max_links, max_age=max_age)


def wire_answering(
    common: CommonSettings,
    settings: GatewaySettings,
    models: aiohttp.ClientSession,
    *,
    rollouts: RolloutCache,
    recorder: Recorder,
    linker: Linker,
    users: KnownUsers,
    reports: AnswerReports,
) -> Answering:
    exchanges = ExchangeLog(recorder, linker, now, log_unstored=settings.log_unstored)
    upstream = HttpUpstream(models, common.vllm_replicas)
    return Answering(
        rollouts, upstream, linker, exchanges, now,
        seeds_allowed=settings.seeds_allowed,
        personas=users.personas if settings.personas else NoPersonas(),
        groups=users.groups,
        user_headers=settings.headers_of_users,
        reports=reports,
    )  # fmt: skip


def register_collectors(
    use_cases: UseCases, users: KnownUsers, reports: AnswerReports, shadow: Shadow
) -> None:
    for collector in (
        RecorderCollector(use_cases.recorder),
        TelemetryCollector(use_cases.telemetry),
        KnownUsersCollector(users),
        ReportsCollector(reports, shadow),
        WatchCollector(use_cases.rollouts, use_cases.keys_connected),
    ):
        REGISTRY.register(collector)


def wire_users(settings: GatewaySettings, peers: Peers) -> KnownUsers:
    """Personas are only used if the settings say so, groups only where a version is a composition."""
    personas, clock = FeedbackPersonas(peers.feedback), time.monotonic
    groups = RewardGroups(peers.reward) if peers.reward is not None else NobodysGroups()
    fresh_s = settings.persona_fresh_s
    personas_kept = Keeping(fresh_s, _PERSONAS_FOR * fresh_s, settings.max_personas)
    fresh_s = settings.groups_fresh_s
    groups_kept = Keeping(fresh_s, max(_GROUPS_FOR_S, fresh_s), settings.max_grouped_users)
    return KnownUsers(
        UserCache("a persona", personas.persona, "", clock, personas_kept),
        UserCache("a user's groups", groups.groups, (), clock, groups_kept),
        groups,
    )


def wire_erasing(
    database: Database,
    log: EventLog,
    spool: FileSpool,
    *,
    links: SqlLinks,
    histories: Histories,
    answers: NewestAnswers,
    users: KnownUsers,
    reports: AnswerReports,
) -> Erasing:
    """What is in memory is removed on the event loop, which owns it."""
    loop = asyncio.get_running_loop()

    def forget(tenant: str, conversation_ids: Set[str]) -> None:
        for memory in (links.memory, histories, answers):
            loop.call_soon_threadsafe(memory.forget, tenant, conversation_ids)

    def forget_user(tenant: str, user_id: str) -> None:
        for known in (users, reports):
            loop.call_soon_threadsafe(known.forget, tenant, user_id)
        loop.call_soon_threadsafe(histories.forget_user, tenant, user_id)

    return Erasing("gateway", database, log, GatewayRemover(spool, forget, forget_user))


def _flushing(recorder: Recorder, drain_s: float) -> Lifespan:
    """Once open answers have ended, waiting turns are forwarded, or stay in the spool."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await recorder.flush(drain_s)

    return lifespan


async def run(common: CommonSettings, settings: GatewaySettings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await serve(await wire(common, settings, stack))


def main() -> None:
    common, settings = load(CommonSettings), load(GatewaySettings)
    start_telemetry("gateway", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    # Objects made so far live as long as the process: the garbage collector need not look at them again.
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)
    # The chats' thread releases the interpreter with each write to a socket. With the default of 5 ms it would
    # wait that long to get it back from the thread that writes links.
    sys.setswitchinterval(0.0001)
    with ending_whole("gateway"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(common, settings))


if __name__ == "__main__":
    main()
