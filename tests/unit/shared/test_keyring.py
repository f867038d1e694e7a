"""Keys of owners: one for all who ask, gone for good once destroyed, a new generation afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.keyring import CachedKeyring, KeyState
from shared.sql_keyring import SqlKeyring

ANN, BEN = "tenants/a/users/ann", "tenants/a/users/ben"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def keyring(url: str) -> SqlKeyring:
    return SqlKeyring(url)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_owner_has_one_key_whoever_asks(keyring: SqlKeyring, url: str) -> None:
    mine = keyring.of_owners([ANN, BEN], 1.0)
    theirs = SqlKeyring(url).of_owners([BEN, ANN], 2.0)
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


def test_pseudonyms_are_stable_and_need_the_keyring(keyring: SqlKeyring, url: str) -> None:
    assert keyring.pseudonym(ANN) == SqlKeyring(url).pseudonym(ANN)
    assert keyring.pseudonym(ANN) != keyring.pseudonym(BEN)
    assert keyring.pseudonym(ANN) != SqlKeyring("sqlite://").pseudonym(ANN)


def test_the_file_holds_no_owner_and_no_destroyed_secret(
    keyring: SqlKeyring, tmp_path: Path
) -> None:
    made = keyring.of_owners([ANN, BEN], 1.0)
    assert any(made[ANN].secret in path.read_bytes() for path in tmp_path.iterdir())
    keyring.destroy([made[ANN].id], now=50.0)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made[ANN].secret not in content
    assert made[BEN].secret in content
    assert b"ann" not in content
    assert (tmp_path / "keys.db").stat().st_mode & 0o077 == 0


def test_a_cache_sees_what_others_destroyed_within_its_time(keyring: SqlKeyring, url: str) -> None:
    clock = Clock()
    cache = CachedKeyring(SqlKeyring(url), ttl_s=2.0, clock=clock)
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


def test_a_cache_is_bounded(keyring: SqlKeyring) -> None:
    cache = CachedKeyring(keyring, most=10)
    cache.for_sealing({f"tenants/a/users/u{n}" for n in range(25)}, made=1.0)
    assert len(cache._by_owner) == 10
