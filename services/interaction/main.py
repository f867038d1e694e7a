"""Wires the interaction service: `python -m services.interaction.main`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from services.interaction.adapters.journal import EventLogJournal
from services.interaction.adapters.shelf import SqlShelf
from services.interaction.adapters.store import SqlConversationStore
from services.interaction.app import Conversations, Intake
from services.interaction.consumer import STAGE, TurnKeeper
from services.interaction.domain import Limits
from services.interaction.grpc_api import InteractionServicer
from services.interaction.settings import InteractionSettings
from shared import telemetry
from shared.database import Database
from shared.event_log import open_event_log
from shared.events import now
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import (
    add_InteractionServiceServicer_to_server,
)
from shared.process import Service, run
from shared.redaction_policy import redactor_of
from shared.settings import CommonSettings, load
from shared.stage import OutboxRelay, SqlStage
from shared.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED, PREFERENCE_GIVEN


def build(common: CommonSettings, settings: InteractionSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common, timeout_s=settings.publish_timeout_s)
    limits = Limits(max_turn_bytes=settings.max_turn_kb * 1024)
    journal = EventLogJournal(log, (INTERACTION_LOGGED, FEEDBACK_GIVEN, PREFERENCE_GIVEN))
    servicer = InteractionServicer(
        Intake(journal, limits, now, redactor_of(common, "interaction")),
        Conversations(SqlConversationStore(database)),
    )
    keeper = TurnKeeper(SqlShelf, limits, now)
    stage = SqlStage(
        STAGE, database, log, (INTERACTION_LOGGED,), keeper, handle_all=keeper.take_all
    )
    mount = partial(add_InteractionServiceServicer_to_server, servicer)
    return Service(
        name="interaction",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[("trimtab.interaction.v1.InteractionService", mount)],
        background=[
            ("journal", journal.run),
            ("stage", stage.run),
            ("outbox", OutboxRelay(database, log).run),
        ],
        groups={STAGE: (INTERACTION_LOGGED,)},
    )


def main() -> None:
    common, settings = load(CommonSettings), load(InteractionSettings)
    telemetry.start("interaction", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    run(build(common, settings))


if __name__ == "__main__":
    main()
