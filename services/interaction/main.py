"""Wires the interaction service: `python -m services.interaction.main`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from services.interaction.completions.adapters.sql import SqlCompletions
from services.interaction.completions.app import Completions
from services.interaction.completions.grpc_api import mount as mount_completions
from services.interaction.erasure.adapters.audit import SqlErasureState, SqlErasureWriter
from services.interaction.erasure.adapters.holdings import SqlHoldings
from services.interaction.erasure.adapters.peers import GrpcPeerHoldings
from services.interaction.erasure.adapters.retention import AgedAudits
from services.interaction.erasure.adapters.user_keys import KeyringUserKeys
from services.interaction.erasure.app import Conductor, Erasures
from services.interaction.erasure.grpc_api import UserDataServicer
from services.interaction.erasure.grpc_api import mount as mount_user_data
from services.interaction.erasure.jobs import JOB, steps
from services.interaction.erasure.stages import GROUPS, reports
from services.interaction.erasure.stages import STAGE as AUDIT
from services.interaction.keys.adapters.sql import AGING as KEYS_AGING
from services.interaction.keys.adapters.sql import SqlKeyStore
from services.interaction.keys.app import Keys
from services.interaction.keys.grpc_api import mount as mount_keys
from services.interaction.keys.jobs import LOOK_EVERY_S, LiveKeys
from services.interaction.settings import InteractionSettings
from services.interaction.storing import (
    MODULE,
    calm_interpreter,
    erasing,
    open_archive,
    open_database,
)
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.journal import EventLogJournal
from services.interaction.turns.adapters.lineage import InteractionLineage
from services.interaction.turns.adapters.retention import AGING as TURNS_AGING
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.grpc_api import mount as mount_turns
from services.interaction.turns.stages import ANNOTATED, ANNOTATIONS, STAGE
from shared.access.admission import Access, OpenAccess
from shared.access.key_book import KeyBook
from shared.calls.client import aio_channel, calling_of
from shared.calls.server import Mount
from shared.configuration.settings import CommonSettings, load
from shared.language.times import now
from shared.language.topics import (
    ASSESSMENT_GIVEN,
    FEEDBACK_GIVEN,
    INTERACTION_LOGGED,
    PREFERENCE_GIVEN,
)
from shared.log.events import EventLog
from shared.privacy.erasure import Scrubbed
from shared.redaction.policy import redactor_of
from shared.serving import operations_api
from shared.serving.aside import Aside
from shared.serving.key_follower import keyed_access
from shared.serving.opening import open_event_log, open_keyring
from shared.serving.process import Background, Service, run
from shared.state import operations
from shared.state.database import Database
from shared.state.loop import repeat
from shared.state.tables import OUTBOX
from shared.telemetry.setup import start_telemetry
from shared.vault.keyring import CachedKeyring


@dataclass(frozen=True)
class Room:
    """What one capability serves and runs."""

    mounts: Sequence[Mount]
    background: Sequence[Background] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def build(common: CommonSettings, settings: InteractionSettings) -> Service:
    database = open_database(settings)
    keyring = open_keyring(common)
    log = open_event_log(common, keyring, timeout_s=settings.publish_timeout_s)
    storing = Aside(MODULE, settings.drain_s)
    database.after_commit(storing.wake, OUTBOX)
    access, keys = wire_keys(common, database)
    rooms = [
        wire_turns(common, settings, database, log),
        keys,
        wire_completions(common, database),
        wire_erasure(common, settings, database, log, keyring),
    ]
    return Service(
        name="interaction",
        common=common,
        settings=settings,
        database=database,
        log=log,
        access=access,
        lineage=InteractionLineage(database),
        mounts=[mount for room in rooms for mount in room.mounts],
        background=[
            *(thread for room in rooms for thread in room.background),
            ("storing", storing.run),
        ],
        ready=[storing.ready],
        groups={stage: topics for room in rooms for stage, topics in room.groups.items()},
        aging=[*TURNS_AGING, *KEYS_AGING, AgedAudits()],
    )


def wire_turns(
    common: CommonSettings, settings: InteractionSettings, database: Database, log: EventLog
) -> Room:
    topics = (INTERACTION_LOGGED, FEEDBACK_GIVEN, PREFERENCE_GIVEN, ASSESSMENT_GIVEN)
    journal = EventLogJournal(log, topics)
    intake = Intake(journal, settings.limits, now, redactor_of(common, "interaction"))
    conversations = Conversations(SqlConversationReads(database))
    return Room(
        mounts=[mount_turns(intake, conversations)],
        background=[("journal", journal.run)],
        groups={STAGE: (INTERACTION_LOGGED,), ANNOTATIONS: ANNOTATED},
    )


def wire_keys(common: CommonSettings, database: Database) -> tuple[Access, Room]:
    """Access control, and the keys behind it."""
    book, store = KeyBook(now), SqlKeyStore(database)
    live = LiveKeys(store, book, now)
    live.refresh()
    access = keyed_access(common, book) if common.require_keys else OpenAccess()
    mount = mount_keys(Keys(store, now, live.refresh), store, live)
    return access, Room(
        mounts=[mount], background=[("keys", repeat("keys", live.once, idle_s=LOOK_EVERY_S))]
    )


def wire_completions(common: CommonSettings, database: Database) -> Room:
    completions = Completions(SqlCompletions(database), redactor_of(common, "interaction"))
    return Room(mounts=[mount_completions(completions)])


def wire_erasure(
    common: CommonSettings,
    settings: InteractionSettings,
    database: Database,
    log: EventLog,
    keyring: CachedKeyring,
) -> Room:
    """Erasing and exporting users' data, and the operations of erasures."""
    addresses = {
        "feedback": common.feedback_address,
        "reward": common.reward_address,
        "evaluation": common.evaluation_address,
        "drift": common.drift_address,
        "retrain": common.retrain_address,
    }
    calling = calling_of(common)
    peers = {part: partial(aio_channel, address, calling) for part, address in addresses.items()}
    archive = open_archive(common, settings, database)
    state, keys = SqlErasureState(database), KeyringUserKeys(keyring, database, time.time)
    conductor = Conductor(state, keys, settings.reporting, time.time)
    servicer = UserDataServicer(
        conductor,
        Erasures(state, keys),
        partial(operations.get, database),
        SqlHoldings(database, archive),
        GrpcPeerHoldings(peers),
    )
    stage = reports(conductor, database, log, SqlErasureWriter)
    worker = Scrubbed(database, steps(conductor, database, SqlErasureWriter))
    return Room(
        mounts=[mount_user_data(servicer), operations_api.mount(database)],
        background=[(AUDIT, stage.run), (JOB, worker.run)],
        groups={**erasing(database, log, archive).groups, **GROUPS},
    )


def main() -> None:
    common, settings = load(CommonSettings), load(InteractionSettings)
    start_telemetry("interaction", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    service = build(common, settings)
    calm_interpreter()
    run(service)


if __name__ == "__main__":
    main()
