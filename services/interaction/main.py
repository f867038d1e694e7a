"""Wires the interaction service: `python -m services.interaction.main`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.interaction.adapters.annotations import SqlNotes
from services.interaction.adapters.archive import Archive
from services.interaction.adapters.housekeeping import Housekeeping
from services.interaction.adapters.journal import EventLogJournal
from services.interaction.adapters.search import SearchIndexer
from services.interaction.adapters.shelf import SqlShelf
from services.interaction.adapters.store import SqlConversationStore
from services.interaction.adapters.tracer import InteractionTracer
from services.interaction.app import Conversations, Intake
from services.interaction.completions.app import Completions
from services.interaction.completions.grpc_api import mount as mount_completions
from services.interaction.completions.store import SqlCompletions, keep_completions
from services.interaction.consumer import ANNOTATIONS, STAGE, Annotator, TurnKeeper
from services.interaction.domain import Limits
from services.interaction.grpc_api import InteractionServicer
from services.interaction.keys.app import Keys
from services.interaction.keys.grpc_api import mount as mount_keys
from services.interaction.keys.live import LiveKeys
from services.interaction.keys.store import SqlKeyStore
from services.interaction.retention import Policy
from services.interaction.settings import InteractionSettings
from services.interaction.users.conductor import Conductor
from services.interaction.users.grpc_api import UserDataServicer
from services.interaction.users.grpc_api import mount as mount_user_data
from services.interaction.users.holdings import InteractionRemover, SqlHoldings
from shared import operations, telemetry
from shared.access import Access, OpenAccess
from shared.client import aio_channel, calling_of
from shared.database import Database
from shared.erasure import Erasing
from shared.event_log import open_event_log, open_keyring
from shared.events import EventLog, now
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import (
    add_InteractionServiceServicer_to_server,
)
from shared.key_follower import keyed_access
from shared.keys import KeyBook
from shared.process import Background, Service, run
from shared.redaction import Redactor
from shared.redaction_policy import redactor_of
from shared.rpc import Mount
from shared.settings import CommonSettings, load
from shared.stage import OutboxRelay, SqlStage
from shared.topics import (
    FEEDBACK_GIVEN,
    FEEDBACK_MINED,
    INTERACTION_LOGGED,
    PREFERENCE_GIVEN,
    REWARD_SCORED,
)

ANNOTATED = (FEEDBACK_MINED, REWARD_SCORED)


def build(common: CommonSettings, settings: InteractionSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    keyring = open_keyring(common)
    log = open_event_log(common, keyring, timeout_s=settings.publish_timeout_s)
    redactor = redactor_of(common, "interaction")
    guard = _guard(common, database)
    turns = _turns(database, log, redactor, Limits(max_turn_bytes=settings.max_turn_kb * 1024))
    annotator = Annotator(SqlNotes)
    annotations = SqlStage(
        ANNOTATIONS, database, log, ANNOTATED, annotator, handle_all=annotator.take_all
    )
    conductor = Conductor(database, log, keyring, settings.reporting)
    archive = Archive(database, settings.archive_url or str((common.data / "archive").absolute()))
    policy = Policy(settings.retention)
    housekeeping = Housekeeping(database, archive, policy, now, settings.archive_every_s)
    erasing = Erasing("interaction", database, log, InteractionRemover(archive))
    return Service(
        name="interaction",
        common=common,
        settings=settings,
        database=database,
        log=log,
        access=guard.access,
        tracer=InteractionTracer(database),
        mounts=[
            turns.mount,
            guard.mount,
            mount_completions(Completions(SqlCompletions(database), redactor)),
            *_user_data(common, database, archive, conductor),
        ],
        background=[
            *turns.background,
            ("keys", guard.live.run),
            ("annotations", annotations.run),
            ("outbox", OutboxRelay(database, log).run),
            ("housekeeping", housekeeping.run),
            *erasing.background(),
            *conductor.background(),
        ],
        groups={
            STAGE: (INTERACTION_LOGGED,),
            ANNOTATIONS: ANNOTATED,
            **erasing.groups,
            **conductor.groups,
        },
    )


@dataclass(frozen=True)
class _Turns:
    """Turns on their way: taken in, journalled, stored, indexed."""

    mount: Mount
    background: Sequence[Background]


def _turns(database: Database, log: EventLog, redactor: Redactor, limits: Limits) -> _Turns:
    journal = EventLogJournal(log, (INTERACTION_LOGGED, FEEDBACK_GIVEN, PREFERENCE_GIVEN))
    intake = Intake(journal, limits, now, redactor)
    servicer = InteractionServicer(intake, Conversations(SqlConversationStore(database)))
    keeper = TurnKeeper(SqlShelf, limits, now, keep_completions)
    stage = SqlStage(
        STAGE,
        database,
        log,
        (INTERACTION_LOGGED,),
        keeper,
        batch_records=1_000,
        handle_all=keeper.take_all,
        gives_way=intake.busy,
    )
    mount = partial(add_InteractionServiceServicer_to_server, servicer)
    return _Turns(
        ("trimtab.interaction.v1.InteractionService", mount),
        [
            ("journal", journal.run),
            ("stage", stage.run),
            ("search", SearchIndexer(database, keeper.behind).run),
        ],
    )


def _user_data(
    common: CommonSettings, database: Database, archive: Archive, conductor: Conductor
) -> list[Mount]:
    """Erasing and exporting users, and the operations of erasures."""
    addresses = {
        "feedback": common.feedback_address,
        "reward": common.reward_address,
        "evaluation": common.evaluation_address,
        "drift": common.drift_address,
        "retrain": common.retrain_address,
    }
    calling = calling_of(common)
    peers = {part: partial(aio_channel, address, calling) for part, address in addresses.items()}
    servicer = UserDataServicer(database, conductor, SqlHoldings(database, archive), peers)
    return [mount_user_data(servicer), operations.mount(database)]


@dataclass(frozen=True)
class _Guard:
    """Who may call, and the keys that say so."""

    access: Access
    live: LiveKeys
    mount: Mount


def _guard(common: CommonSettings, database: Database) -> _Guard:
    book, store = KeyBook(now), SqlKeyStore(database)
    live = LiveKeys(store, book, now)
    live.refresh()
    access = keyed_access(common, book) if common.require_keys else OpenAccess()
    return _Guard(access, live, mount_keys(Keys(store, now, live.refresh), store, live))


def main() -> None:
    common, settings = load(CommonSettings), load(InteractionSettings)
    telemetry.start("interaction", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    service = build(common, settings)
    # What is there now stays. A batch makes thousands of objects and drops them all: looking for cycles
    # among them costs a tenth.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # Whoever calls the database or a socket gives the interpreter away, and gets it back from a thread
    # that computes only after this long: with the default of 5 ms, storing stood still beside taking in.
    sys.setswitchinterval(0.0005)
    run(service)


if __name__ == "__main__":
    main()
