"""What runs for every record, for every request and every few seconds reads no table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.interaction.completions.adapters.sql import SqlCompletions
from services.interaction.completions.app import Completions
from services.interaction.completions.domain import CompletionQuery
from services.interaction.erasure.adapters.holdings import SqlHoldings
from services.interaction.erasure.adapters.retention import AgedAudits
from services.interaction.erasure.app import Erasures
from services.interaction.keys.adapters.sql import AGING as KEYS_AGING
from services.interaction.keys.adapters.sql import SqlKeyStore
from services.interaction.keys.app import Keys
from services.interaction.tables import ARCHIVE_POSITION, SEARCHED, TABLES, TENANT_QUOTAS
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.lineage import InteractionLineage
from services.interaction.turns.adapters.retention import AGING as TURNS_AGING
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.jobs import Housekeeping
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Aging, Retention
from shared.state.database import Database
from tests.contract.interaction import test_completions as completions
from tests.contract.interaction.test_store import Store, mined, said, scored
from tests.contract.plans import Statement, recorded, whole_tables
from tests.contract.state import opened
from tests.unit.interaction.house import NOW, House

# One row, or one for each tenant.
SMALL = {table.name for table in (SEARCHED, ARCHIVE_POSITION, TENANT_QUOTAS)}
POLICY = RetentionPolicy({"*": Keep(store_days=30), "short": Keep(store_days=7)})
FILTERS = [
    'user_id = "user-a" AND channel = "grpc"',
    'label = "dissatisfied" AND model_version != "v2"',
    'score > 0.5 AND create_time > "2026-01-01T00:00:00Z"',
]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("interaction", database_url) as made:
        yield made


def check(database: Database, asked: list[Statement]) -> None:
    assert len(asked) > 5
    found = whole_tables(database, asked, TABLES)
    assert [one for one in found if not _is_bounded(one)] == []


def _is_bounded(found: str) -> bool:
    step, statement = found.split(":", 1)
    if "ORDER BY" in step or "DISTINCT" in statement:
        # Of one conversation or a page of them, of a tenant's files, of a tenant's keys.
        few = ("conversation_id = ?", "conversation_id IN", "FROM archived_parts", "FROM api_keys")
        return any(one in statement for one in few)
    return any(f" {name}" in step for name in SMALL)


def test_taking_indexing_and_listing(database_url: str) -> None:
    store = Store(database_url)
    with recorded(store.database) as asked:
        store.take([said(name, 0, "plum and quince") for name in "abc"])
        store.log.publish([mined("f1", "a", 0.9), mined("f2", "a", 0.1, replaces=["f1"])])
        store.log.publish([scored("a", "t1", 0.2, "m1", 100)])
        store.settle()
        for filter_text in ("", *FILTERS):
            for query in ("", "plum"):
                page = store.conversations.list("local", filter_text, 1, "", query)
                store.conversations.list("local", filter_text, 1, page.next_token, query)
        store.conversations.get("local", "tenants/local/conversations/a")
        InteractionLineage(store.database).steps("local", "a", "")
    check(store.database, asked)
    store.database.close()


def test_stored_completions(database_url: str) -> None:
    house = completions.House(database_url)
    with recorded(house.database) as asked:
        house.log_turns(completions.said("c", 0, "ask"), completions.answer("c", "c-1", 1))
        stored = Completions(SqlCompletions(house.database))
        stored.get("local", "c-1")
        stored.messages("local", "c-1")
        stored.update("local", "c-1", {"page": "b"})
        for newest_first in (True, False):
            for more in ({}, {"after": "c-1"}, {"model_version": "va"}, {"metadata": {"a": "b"}}):
                stored.list("local", CompletionQuery(newest_first=newest_first, **more))
    check(house.database, asked)
    house.database.close()


def test_keys(database: Database) -> None:
    store = SqlKeyStore(database)
    keys = Keys(store, lambda: NOW, lambda: None)
    with recorded(database) as asked:
        key, _ = keys.create("acme", "app", ["writer"], timedelta(days=1))
        keys.rotate("acme", key.name, None)
        keys.revoke("acme", key.name)
        for show_ended in (True, False):
            page = keys.list("acme", 1, "", show_ended=show_ended)
            keys.list("acme", 1, page.next_token, show_ended=show_ended)
        store.live(NOW)
        store.note_uses([(key.key_id, NOW)])
    check(database, asked)


def test_an_erasure_and_an_export(database: Database, tmp_path: Path) -> None:
    house = House(tmp_path, database=database)
    archive = Archive(database, str(tmp_path / "archive"))
    house.remover._archive = archive
    house.say("zanzibar", "a", "my marmalade recipe", "boil the kumquats")
    house.take()
    archive.archive_once()
    with recorded(database) as asked:
        list(SqlHoldings(database, archive)("local", "zanzibar"))
        found = house.erase("zanzibar", "r1")
        Erasures(house.state, house.keys).list("local", "zanzibar", 1, "")
        Erasures(house.state, house.keys).list("local", "", 1, "")
    assert found.ended
    check(database, asked)


def test_archiving_and_forgetting(database: Database, tmp_path: Path) -> None:
    house = House(tmp_path, database=database)
    now = NOW

    def clock() -> datetime:
        return now

    archive = Archive(database, str(tmp_path / "archive"), clock)
    housekeeping = Housekeeping(archive, SqlAgedTurns(database), POLICY, clock)
    aging: list[Aging] = [*TURNS_AGING, *KEYS_AGING, AgedAudits()]
    retention = Retention(database, aging, POLICY, clock, seen_days=3)
    housekeeping.once()  # looks through all that is there, at the start
    with recorded(database) as asked:
        for number in range(9):
            house.say("ada", f"c{number}", "hello")
            house.take()
            housekeeping.once()
        now += timedelta(days=4000)
        housekeeping.once()
        retention.once()
    assert archive.tenants() == []
    assert SqlAgedTurns(database).tenants() == []
    check(database, asked)
