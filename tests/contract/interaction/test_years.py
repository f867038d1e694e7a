"""Years of conversations, keys and erasures: what is kept of them stays the same size, and so do the files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.interaction.completions.adapters.sql import keep_completions
from services.interaction.erasure.adapters.retention import AgedAudits
from services.interaction.keys.adapters.sql import AGING as KEYS_AGING
from services.interaction.keys.adapters.sql import SqlKeyStore
from services.interaction.keys.app import Keys
from services.interaction.tables import (
    ARCHIVED_PARTS,
    ARCHIVED_USERS,
    ERASURE_REPORTS,
    ERASURES,
    LABELS,
    TABLES,
    TURNS,
)
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.retention import AGING as TURNS_AGING
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.adapters.search import SqlSearchIndex
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.domain.conversations import Label, Score
from services.interaction.turns.jobs import Housekeeping
from shared.language.messages import text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.language.times import microseconds
from shared.language.turns import Turn
from shared.privacy.retention import Aging, Retention
from shared.state.database import Database
from tests.contract.state import opened
from tests.unit.interaction.house import NOW

POLICY = RetentionPolicy({"*": Keep(store_days=90, archive_days=180), "brief": Keep(30, 60)})
YEARS, STEP = 2, timedelta(days=10)


class Years:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.now = database, folder, NOW
        self.archive = Archive(database, str(folder), self.clock)
        self.keys = Keys(SqlKeyStore(database), self.clock, lambda: None)
        aged = SqlAgedTurns(database)
        self.housekeeping = Housekeeping(self.archive, aged, POLICY, self.clock)
        aging: list[Aging] = [*TURNS_AGING, *KEYS_AGING, AgedAudits()]
        self.retention = Retention(database, aging, POLICY, self.clock, seen_days=3)

    def clock(self) -> datetime:
        return self.now

    def pass_days(self, number: int) -> None:
        """Ten days in which people talked, keys were rotated and somebody was erased."""
        self.now += STEP
        for tenant in ("local", "brief"):
            self._talk(tenant, f"c{number}")
            key, _ = self.keys.create(tenant, "app", ["writer"], None)
            new, _ = self.keys.rotate(tenant, key.name, timedelta(days=1))
            self.keys.revoke(tenant, new.name)
            self._erase(tenant, f"e{tenant}{number}")
        while SqlSearchIndex(self.database).index_once():
            continue
        self.housekeeping.once()
        self.retention.once()

    def sizes(self) -> dict[str, int]:
        with self.database.read() as connection:
            counts = {
                name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for name, table in TABLES.tables.items()
            }
            words = connection.execute(sa.text("SELECT count(*) FROM turn_words"))
            counts["words"] = words.scalar_one()
        files = [one for one in self.folder.rglob("*") if one.is_file()]
        return {**counts, "files": len(files)}

    def _talk(self, tenant: str, conversation: str) -> None:
        stored = {"openai.stored": "true"}
        turns = [
            Turn(
                tenant=tenant,
                conversation_id=conversation,
                index=index,
                message=text_message("assistant" if index % 2 else "user", f"words {index}"),
                user_id="ada",
                completion_id=f"{tenant}-{conversation}-{index}" if index % 2 else "",
                create_time=self.now,
                metadata=stored if index % 2 else {},
            )
            for index in range(4)
        ]
        accepted = [accept_turn(turn, tenant, self.now, Limits()) for turn in turns]
        at = microseconds(self.now)
        with self.database.begin() as transaction:
            SqlTurnWriter(transaction, self.clock).add(accepted)
            keep_completions(accepted, transaction)
            writer = SqlAnnotationWriter(transaction)
            # Of a conversation that is there, and of one that never came.
            for place in (conversation, f"other-{conversation}"):
                name = f"{tenant}{place}"
                label = partial(Label, tenant=tenant, conversation_id=place, turn_id="t")
                writer.add_label(
                    label(feedback_id=name, user_id="ada", names=("explicit",), labelled_us=at)
                )
                score = Score(tenant, place, "t", "ada", 0.5, at, "m1")
                writer.set_score(score)

    def _erase(self, tenant: str, name: str) -> None:
        times = {"created": self.now.timestamp(), "ended": self.now.timestamp() + 1}
        with self.database.begin() as transaction:
            transaction.connection.execute(
                ERASURES.insert().values(
                    erasure=name,
                    tenant=tenant,
                    subject="s",
                    actor="a",
                    round=2,
                    services=["interaction"],
                    user_id="",
                    **times,
                )
            )
            transaction.connection.execute(
                ERASURE_REPORTS.insert().values(
                    erasure=name,
                    round=1,
                    service="interaction",
                    removals={"turns": 1},
                    model_versions=[],
                    created=times["created"],
                )
            )


@pytest.fixture
def years(database_url: str, tmp_path: Path) -> Iterator[Years]:
    with opened("interaction", database_url) as database:
        yield Years(database, tmp_path / "archive")


def test_sizes_are_flat_over_the_years(years: Years) -> None:
    sizes = []
    for number in range(YEARS * 365 // STEP.days):
        years.pass_days(number)
        sizes.append(years.sizes())
    # Every ten days, of "local" for 90 and of "brief" for 30, both ends included: so many times.
    times = 10 + 4
    assert sizes[30]["conversations"] == times
    assert sizes[30][TURNS.name] == sizes[30]["words"] == 4 * times
    assert sizes[30]["completions"] == 2 * times
    assert sizes[30][LABELS.name] == sizes[30]["scores"] == 2 * times
    # Files and audits for 180 days and for 60.
    assert sizes[30]["files"] == sizes[30][ARCHIVED_PARTS.name] == 19 + 7
    assert sizes[30][ARCHIVED_USERS.name] == 19 + 7
    assert sizes[30][ERASURES.name] == sizes[30][ERASURE_REPORTS.name] == 19 + 7
    different = {name for one in sizes[30:] for name in one if one[name] != sizes[30][name]}
    assert different == set()
