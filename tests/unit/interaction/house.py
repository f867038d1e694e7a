"""Interaction's stages, its own part of erasures and their conductor, driven by hand over the sealed log."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.interaction.erasure.adapters.audit import SqlErasureState, SqlErasureWriter
from services.interaction.erasure.adapters.remover import InteractionRemover
from services.interaction.erasure.adapters.user_keys import KeyringUserKeys
from services.interaction.erasure.app import Conductor
from services.interaction.erasure.domain import Audit
from services.interaction.erasure.jobs import steps
from services.interaction.erasure.stages import reports
from services.interaction.tables import TABLES
from services.interaction.turns.adapters.search import SqlSearchIndex
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.language.messages import text_message
from shared.language.topics import INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasing, Erasure, Scrubbed
from shared.state.database import Database
from shared.state.jobs import Worker
from shared.state.stage import SqlStage, drain
from shared.state.tables import JOBS
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import SealedEventLog
from shared.vault.sql_keyring import SqlKeyring

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits()


class Failing(InteractionRemover):
    """Breaks in the middle as often as it is told to: like a kill, all that is kept is in SQL."""

    breaks = 0

    def remove_files(self, erasure: Erasure) -> None:
        if self.breaks:
            self.breaks -= 1
            raise OSError("killed in the middle")
        super().remove_files(erasure)


class House:
    """On a database of its own, unless one is given."""

    def __init__(
        self,
        folder: Path,
        services: tuple[str, ...] = ("interaction",),
        database: Database | None = None,
    ) -> None:
        self.folder = folder
        self.database = database or Database(f"sqlite:///{folder / 'state.db'}", TABLES)
        self.inner = MemoryEventLog()
        self.keyring = CachedKeyring(SqlKeyring(f"sqlite:///{folder / 'keys.db'}"), ttl_s=1e-6)
        self.log = SealedEventLog(self.inner, self.keyring)
        keeper = TurnKeeper(SqlTurnWriter, LIMITS, lambda: NOW)
        self.stage = SqlStage(
            STAGE,
            self.database,
            self.log,
            (INTERACTION_LOGGED,),
            keeper,
            handle_all=keeper.take_all,
        )
        self.remover = Failing()
        self.state = SqlErasureState(self.database)
        self.keys = KeyringUserKeys(self.keyring, self.database, time.time)
        self.conductor = Conductor(self.state, self.keys, services, time.time)
        self.erasing = Erasing("interaction", self.database, self.log, self.remover)

    def say(self, user: str, conversation: str, *texts: str) -> None:
        turns = [said(user, conversation, index, text) for index, text in enumerate(texts)]
        accepted = [accept_turn(turn, "local", NOW, LIMITS) for turn in turns]
        self.log.publish([event_of(turn) for turn in accepted])

    def take(self) -> None:
        drain(self.stage)
        while SqlSearchIndex(self.database).index_once():
            pass

    def step(self) -> bool:
        """All that can be done now; False if it was nothing."""
        stages = (self.erasing.stage(), self._reports())
        workers = (self._steps(), self.erasing.worker())
        worked = [Scrubbed(self.database, worker).once() for worker in workers]
        with self.database.begin() as transaction:  # nobody waits in a test
            transaction.connection.execute(JOBS.update().values(run_after=0.0))
        return any([*worked, *[drain(stage) for stage in stages]])

    def _reports(self) -> SqlStage:
        return reports(self.conductor, self.database, self.log, SqlErasureWriter)

    def _steps(self) -> Worker:
        return steps(self.conductor, self.database, SqlErasureWriter)

    def run(self) -> None:
        while self.step():
            pass

    def erase(self, user: str, request_id: str = "") -> Audit:
        name = self.conductor.start("local", user, "ops@example.org", request_id)
        self.run()
        return self.state.get("local", name.removeprefix("operations/erase-"))

    def content(self) -> bytes:
        """Of every file, and of all that was published."""
        files = b"".join(p.read_bytes() for p in self.folder.rglob("*") if p.is_file())
        records = [r for rs in self.inner._records.values() for r in rs]
        return files + b"".join(str(record).encode() + record.event.value for record in records)


def said(user: str, conversation: str, index: int, text: str) -> Turn:
    return Turn(
        tenant="",
        conversation_id=conversation,
        index=index,
        message=text_message("assistant" if index % 2 else "user", text),
        user_id=user,
        completion_id=f"chatcmpl-{conversation}-{index}" if index % 2 else "",
        create_time=NOW - timedelta(days=1) + timedelta(minutes=index),
        channel="grpc",
    )
