"""Wires the interaction service: `python -m services.interaction.main`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from services.interaction.adapters.archive import Archive
from services.interaction.adapters.journal import EventLogJournal
from services.interaction.adapters.store import SqlConversationStore
from services.interaction.adapters.tracer import InteractionTracer
from services.interaction.app import Conversations, Intake
from services.interaction.completions.app import Completions
from services.interaction.completions.grpc_api import mount as mount_completions
from services.interaction.completions.store import SqlCompletions
from services.interaction.consumer import ANNOTATED, ANNOTATIONS, STAGE
from services.interaction.grpc_api import InteractionServicer
from services.interaction.keys.app import Keys
from services.interaction.keys.grpc_api import mount as mount_keys
from services.interaction.keys.live import LiveKeys
from services.interaction.keys.store import SqlKeyStore
from services.interaction.settings import InteractionSettings
from services.interaction.storing import (
    MODULE,
    calm_interpreter,
    erasing,
    open_archive,
    open_database,
)
from services.interaction.users.conductor import Conductor
from services.interaction.users.grpc_api import UserDataServicer
from services.interaction.users.grpc_api import mount as mount_user_data
from services.interaction.users.holdings import SqlHoldings
from shared.access.admission import Access, OpenAccess
from shared.access.key_book import KeyBook
from shared.calls.client import aio_channel, calling_of
from shared.calls.server import Mount
from shared.configuration.settings import CommonSettings, load
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import (
    add_InteractionServiceServicer_to_server,
)
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED, PREFERENCE_GIVEN
from shared.redaction.policy import redactor_of
from shared.serving import operations_api
from shared.serving.aside import Aside
from shared.serving.key_follower import keyed_access
from shared.serving.opening import open_event_log, open_keyring
from shared.serving.process import Service, run
from shared.state.database import Database
from shared.state.tables import OUTBOX
from shared.telemetry.setup import start_telemetry


def build(common: CommonSettings, settings: InteractionSettings) -> Service:
    database = open_database(settings)
    keyring = open_keyring(common)
    log = open_event_log(common, keyring, timeout_s=settings.publish_timeout_s)
    redactor = redactor_of(common, "interaction")
    guard = _guard(common, database)
    journal = EventLogJournal(log, (INTERACTION_LOGGED, FEEDBACK_GIVEN, PREFERENCE_GIVEN))
    intake = Intake(journal, settings.limits, now, redactor)
    conductor = Conductor(database, log, keyring, settings.reporting)
    archive = open_archive(common, settings, database)
    storing = Aside(MODULE, settings.drain_s)
    database.after_commit(storing.wake, OUTBOX)
    return Service(
        name="interaction",
        common=common,
        settings=settings,
        database=database,
        log=log,
        access=guard.access,
        tracer=InteractionTracer(database),
        mounts=[
            _mount_turns(intake, Conversations(SqlConversationStore(database))),
            guard.mount,
            mount_completions(Completions(SqlCompletions(database), redactor)),
            *_user_data(common, database, archive, conductor),
        ],
        background=[
            ("journal", journal.run),
            ("keys", guard.live.run),
            *conductor.background(),
            ("storing", storing.run),
        ],
        groups={
            STAGE: (INTERACTION_LOGGED,),
            ANNOTATIONS: ANNOTATED,
            **erasing(database, log, archive).groups,
            **conductor.groups,
        },
    )


def _mount_turns(intake: Intake, conversations: Conversations) -> Mount:
    servicer = InteractionServicer(intake, conversations)
    mount = partial(add_InteractionServiceServicer_to_server, servicer)
    return "trimtab.interaction.v1.InteractionService", mount


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
    return [mount_user_data(servicer), operations_api.mount(database)]


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
    start_telemetry("interaction", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    service = build(common, settings)
    calm_interpreter()
    run(service)


if __name__ == "__main__":
    main()
