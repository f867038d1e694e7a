"""The keyring on SQLite and on PostgreSQL: the same key for every process, gone for good once destroyed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from shared.state import migrations
from shared.state.engine import open_engine
from shared.vault.keyring import CachedKeyring, Key, KeyState
from shared.vault.migrations import TABLES
from shared.vault.sql_keyring import SqlKeyring
from shared.vault.tables import METADATA
from tests.contract.plans import recorded, whole_tables

ANN, BEN = "tenants/a/users/ann", "tenants/a/users/ben"


@pytest.fixture
def keyring(database_url: str) -> Iterator[SqlKeyring]:
    opened = SqlKeyring(database_url)
    yield opened
    opened.close_connections()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_owner_has_one_key_whoever_asks(keyring: SqlKeyring, database_url: str) -> None:
    mine = keyring.of_owners([ANN, BEN], 1.0)
    theirs = SqlKeyring(database_url).of_owners([BEN, ANN], 2.0)
    assert mine == theirs
    assert mine[ANN].id != mine[BEN].id
    assert len(mine[ANN].secret) == 32
    assert keyring.by_ids([mine[ANN].id, "unknown"]) == {mine[ANN].id: mine[ANN]}


def test_many_owners_at_once(keyring: SqlKeyring) -> None:
    owners = [f"tenants/a/users/u{n}" for n in range(1_201)]
    made = keyring.of_owners(owners, 1.0)
    assert len({key.id for key in made.values()}) == 1_201
    assert keyring.of_owners(owners, 2.0) == made


def test_a_destroyed_key_is_a_tombstone_and_is_never_made_again(keyring: SqlKeyring) -> None:
    former = keyring.of_owners([ANN], 1.0)[ANN]
    assert keyring.close([ANN, BEN]) == {former.id}
    assert keyring.close([ANN]) == {former.id}
    assert keyring.by_ids([former.id])[former.id].state is KeyState.CLOSING
    assert keyring.destroy([former.id], now=50.0) == 1
    assert keyring.destroy([former.id], now=60.0) == 0
    assert keyring.close([ANN]) == set()
    tombstone = keyring.by_ids([former.id])[former.id]
    assert (tombstone.state, tombstone.secret, tombstone.destroyed) == ("destroyed", b"", 50.0)
    assert keyring.of_owners([ANN], 49.0)[ANN] == tombstone


def test_who_comes_back_gets_the_next_generation(keyring: SqlKeyring) -> None:
    former = keyring.of_owners([ANN], 1.0)[ANN]
    keyring.destroy([former.id], now=50.0)
    renewed = keyring.of_owners([ANN], 51.0)[ANN]
    assert (renewed.state, renewed.generation) == (KeyState.LIVE, 2)
    assert (renewed.former_id, renewed.since) == (former.id, 50.0)
    assert renewed.secret != former.secret
    assert keyring.of_owners([ANN], 52.0)[ANN] == renewed


def test_pseudonyms_are_stable_and_need_the_keyring(keyring: SqlKeyring, database_url: str) -> None:
    assert keyring.pseudonym(ANN) == SqlKeyring(database_url).pseudonym(ANN)
    assert keyring.pseudonym(ANN) != keyring.pseudonym(BEN)
    assert keyring.pseudonym(ANN) != SqlKeyring("sqlite://").pseudonym(ANN)


def test_a_cache_sees_what_others_destroyed_within_its_time(
    keyring: SqlKeyring, database_url: str
) -> None:
    clock = Clock()
    cache = CachedKeyring(SqlKeyring(database_url), ttl_s=2.0, clock=clock)
    key = cache.for_sealing({ANN}, made=1.0)[ANN].key
    assert cache.for_opening({key.id})[key.id].cipher is not None
    keyring.destroy([key.id], now=50.0)
    clock.now += 1.9
    assert cache.for_opening({key.id})[key.id].key.state is KeyState.LIVE
    clock.now += 0.2
    opened = cache.for_opening({key.id})[key.id]
    assert (opened.key.state, opened.cipher) == (KeyState.DESTROYED, None)
    assert cache.for_sealing({ANN}, made=50.0)[ANN].key.id == key.id
    assert cache.for_sealing({ANN}, made=50.5)[ANN].key.generation == 2


def test_processes_that_open_it_at_once_agree(database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(SqlKeyring, [database_url] * 4))
        made = list(threads.map(lambda one: one.of_owners([ANN, BEN], 1.0), opened))
    assert made == [made[0]] * 4
    for one in opened:
        one.close_connections()


def test_a_keyring_of_before_there_were_revisions_is_taken_over(database_url: str) -> None:
    engine = open_engine(database_url)
    METADATA.create_all(engine)
    key = {
        "owner": "o",
        "generation": 1,
        "id": "k",
        "state": "live",
        "secret": b"s",
        "created": 1.0,
    }
    with engine.begin() as connection:
        connection.execute(METADATA.tables["keys"].insert(), [key])
        connection.execute(METADATA.tables["pepper"].insert(), [{"one": 1, "secret": b"pepper"}])
    opened = SqlKeyring(database_url)
    assert opened.by_ids(["k"])["k"].secret == b"s"
    with engine.connect() as connection:
        pepper = connection.execute(sa.select(METADATA.tables["pepper"].c.secret)).scalars().all()
    assert [bytes(one) for one in pepper] == [b"pepper"]
    assert migrations.differences(engine, TABLES) == []
    opened.close_connections()
    engine.dispose()


def test_no_change_is_missed_when_two_processes_change_keys_at_once(
    keyring: SqlKeyring, database_url: str
) -> None:
    """The first to begin is the last to commit: a reader in between must still see its change afterwards."""
    other, clock = SqlKeyring(database_url), Clock()
    keys = keyring.of_owners([ANN, BEN], 1.0)
    ids = {keys[ANN].id, keys[BEN].id}
    cache = CachedKeyring(SqlKeyring(database_url), ttl_s=2.0, clock=clock)
    cache.for_opening(ids)
    with ThreadPoolExecutor(1) as threads:
        with keyring._writing() as connection:
            keyring._change(connection, [keys[ANN].id], {"state": KeyState.CLOSING})
            closing = threads.submit(other.close, [BEN])
            time.sleep(0.2)
            clock.now += 2.1
            cache.for_opening(ids)
        assert closing.result(30) == {keys[BEN].id}
    clock.now += 2.1
    states = {one: opened.key.state for one, opened in cache.for_opening(ids).items()}
    assert states == dict.fromkeys(ids, KeyState.CLOSING)
    other.close_connections()


@dataclass(frozen=True)
class _Engine:
    engine: sa.Engine


def test_nothing_reads_all_keys_or_all_changes(keyring: SqlKeyring) -> None:
    store = _Engine(keyring._engine)
    with recorded(store) as asked:
        keys = keyring.of_owners([ANN, BEN], 1.0)
        keyring.by_ids([key.id for key in keys.values()])
        _, last = keyring.changes(None)
        keyring.close([ANN, BEN])
        assert len(keyring.changes(last)[0]) == 2
        assert keyring.destroy([keys[ANN].id], now=50.0) == 1
        assert keyring.of_owners([ANN], 51.0)[ANN].generation == 2
    assert len(asked) > 10
    # The generations of some owners are sorted.
    found = whole_tables(store, asked, METADATA)
    assert [one for one in found if "keys.owner IN" not in one] == []


def test_the_keys_that_are_used_stay_in_memory(database_url: str) -> None:
    counted = _Counted(database_url)
    cache = CachedKeyring(counted, most=2)
    for owner in (ANN, BEN, ANN, "tenants/a/users/cy", ANN):
        cache.for_sealing({owner}, made=1.0)
    assert counted.asked == [ANN, BEN, "tenants/a/users/cy"]


class _Counted(SqlKeyring):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[str] = []

    def of_owners(self, owners: Collection[str], now: float) -> dict[str, Key]:
        self.asked += owners
        return super().of_owners(owners, now)
