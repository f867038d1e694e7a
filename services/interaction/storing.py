"""What interaction does after the acknowledgement: storing turns, their labels and scores, search, archive,
retention, and its own part of erasures. `python -m services.interaction.storing`, started by main.

It is a process of its own: in one interpreter, accepting and storing waited for each other.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from services.interaction.completions.adapters.sql import keep_completions
from services.interaction.erasure.adapters.remover import InteractionRemover
from services.interaction.settings import InteractionSettings
from services.interaction.tables import TURNS
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.adapters.search import SqlSearchIndex
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.jobs import Housekeeping, SearchIndexing
from services.interaction.turns.stages import (
    ANNOTATED,
    ANNOTATIONS,
    STAGE,
    Annotator,
    TurnKeeper,
)
from shared.configuration.settings import CommonSettings, load
from shared.language.retention import RetentionPolicy
from shared.language.times import now
from shared.language.topics import INTERACTION_LOGGED
from shared.log.events import EventLog
from shared.privacy.erasure import Erasing
from shared.serving.aside import work_aside
from shared.serving.opening import open_event_log, open_keyring
from shared.serving.process import Background
from shared.state.database import Database
from shared.state.loop import repeat
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage
from shared.telemetry.setup import start_telemetry

MODULE = "services.interaction.storing"


def open_database(settings: InteractionSettings) -> Database:
    return Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))


def open_archive(common: CommonSettings, settings: InteractionSettings, store: Database) -> Archive:
    return Archive(store, settings.archive_url or str((common.data / "archive").absolute()))


def erasing(database: Database, log: EventLog, archive: Archive) -> Erasing:
    return Erasing("interaction", database, log, InteractionRemover(archive))


def background(
    common: CommonSettings, settings: InteractionSettings, database: Database, log: EventLog
) -> list[Background]:
    archive = open_archive(common, settings, database)
    return [
        *_stages(settings, database, log),
        ("outbox", OutboxRelay(database, log).run),
        _housekeeping(common, settings, database, archive),
        *erasing(database, log, archive).background(),
    ]


def _stages(settings: InteractionSettings, database: Database, log: EventLog) -> list[Background]:
    """Storing, annotating, and indexing what was stored."""
    keeper = TurnKeeper(SqlTurnWriter, settings.limits, now, keep_completions)
    stage = SqlStage(
        STAGE,
        database,
        log,
        (INTERACTION_LOGGED,),
        keeper,
        batch_records=1_000,
        handle_all=keeper.take_all,
    )
    annotator = Annotator(SqlAnnotationWriter)
    annotations = SqlStage(
        ANNOTATIONS, database, log, ANNOTATED, annotator, handle_all=annotator.take_all
    )
    search = SearchIndexing(SqlSearchIndex(database), database.waker(TURNS), keeper.behind)
    return [("stage", stage.run), ("annotations", annotations.run), ("search", search.run)]


def _housekeeping(
    common: CommonSettings, settings: InteractionSettings, database: Database, archive: Archive
) -> Background:
    policy = RetentionPolicy(common.retention)
    housekeeping = Housekeeping(archive, SqlAgedTurns(database), policy, now)
    return "housekeeping", repeat(
        "housekeeping", housekeeping.once, idle_s=settings.archive_every_s
    )


def calm_interpreter() -> None:
    """For a process of interaction that goes through thousands of objects at a time."""
    # Objects made so far live as long as the process. A batch makes thousands of objects and drops them all;
    # looking for cycles among them costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # A thread that calls the database or a socket releases the interpreter, and gets it back from a computing
    # thread only after this long. With the default of 5 ms threads held each other up.
    sys.setswitchinterval(0.0005)


def main() -> None:
    common, settings = load(CommonSettings), load(InteractionSettings)
    start_telemetry("interaction", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    database = open_database(settings)
    log = open_event_log(common, open_keyring(common), timeout_s=settings.publish_timeout_s)
    threads = background(common, settings, database, log)
    calm_interpreter()
    work_aside("interaction", threads, database, settings.drain_s)
    log.close()
    database.close()


if __name__ == "__main__":
    main()
