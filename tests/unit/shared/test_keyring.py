"""The keyring's file reveals nothing that it must not; its cache is bounded. More in tests/contract/shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.vault.keyring import CachedKeyring
from shared.vault.sql_keyring import SqlKeyring

ANN, BEN = "tenants/a/users/ann", "tenants/a/users/ben"


@pytest.fixture
def keyring(tmp_path: Path) -> SqlKeyring:
    return SqlKeyring(f"sqlite:///{tmp_path / 'keys.db'}")


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


def test_a_cache_is_bounded(keyring: SqlKeyring) -> None:
    cache = CachedKeyring(keyring, most=10)
    cache.for_sealing({f"tenants/a/users/u{n}" for n in range(25)}, made=1.0)
    assert len(cache._by_owner) == 10
