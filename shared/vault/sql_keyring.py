"""The keyring in SQL: a SQLite file of its own by default, PostgreSQL by URL, `sqlite://` as the twin."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from shared.language.batches import batches
from shared.language.errors import Unavailable
from shared.state import migrations
from shared.state.engine import open_engine
from shared.vault.keyring import Key, KeyState
from shared.vault.tables import CHANGES, KEYS, PEPPER

_REVISIONS = Path(__file__).parent / "migrations"
# Any number, the same everywhere: the holder of this advisory lock may change a keyring on PostgreSQL.
_LOCK = 7_236_003
# Variables per statement, well below SQLite's limit.


class SqlKeyring:
    """A shared.vault.keyring.Keyring. Thread-safe: callers within one process take turns. Every method but
    `pseudonym` raises Unavailable (KEYRING_AWAY) while the database is unavailable, the constructor too."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._turn = threading.RLock()
        sa.event.listen(self._engine, "connect", _durable)
        with _translated():
            migrations.upgrade(self._engine, _REVISIONS)
            self._pepper = self._kept_pepper()
        path = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and path not in (None, "", ":memory:"):
            Path(str(path)).chmod(0o600)

    def of_owners(self, owners: Collection[str], now: float) -> dict[str, Key]:
        """As Keyring.of_owners. New keys are on disk before they are returned: nothing is ever sealed with
        a key that a crash could lose."""
        with self._reading() as connection:
            found = self._newest(connection, owners)
        ended = {o: k for o, k in found.items() if 0 < k.destroyed < now}
        missing = [owner for owner in owners if owner not in found]
        if missing or ended:
            with self._writing() as connection:
                self._make(connection, missing, ended)
                found |= self._newest(connection, [*missing, *ended])
        return found

    def by_ids(self, ids: Collection[str]) -> dict[str, Key]:
        """The keys with these ids, destroyed ones included; unknown ids are left out."""
        found: dict[str, Key] = {}
        with self._reading() as connection:
            for chunk in batches(ids):
                rows = connection.execute(sa.select(KEYS).where(KEYS.c.id.in_(chunk)))
                found |= {row.id: _key(row) for row in rows}
        return found

    def close(self, owners: Collection[str]) -> set[str]:
        """Sets LIVE keys of these owners to CLOSING; returns the ids of all their keys now CLOSING. After an
        error repeat it."""
        closing: set[str] = set()
        with self._writing() as connection:
            for chunk in batches(self.pseudonym(owner) for owner in owners):
                theirs = KEYS.c.owner.in_(chunk)
                query = sa.select(KEYS.c.id).where(theirs, KEYS.c.state == KeyState.LIVE)
                live = connection.execute(query).scalars().all()
                self._change(connection, live, {"state": KeyState.CLOSING})
                query = sa.select(KEYS.c.id).where(theirs, KEYS.c.state == KeyState.CLOSING)
                closing |= set(connection.execute(query).scalars())
        return closing

    def destroy(self, ids: Collection[str], now: float) -> int:
        """Sets keys to DESTROYED at `now` (Unix time), removes their secrets, and empties SQLite's write-ahead
        log; returns how many were not DESTROYED before. Unknown ids are ignored. After an error repeat it."""
        values = {"state": KeyState.DESTROYED, "secret": b"", "destroyed": now}
        destroyed = 0
        with self._writing() as connection:
            for chunk in batches(ids):
                mine = KEYS.c.id.in_(chunk) & (KEYS.c.state != KeyState.DESTROYED)
                found = connection.execute(sa.select(KEYS.c.id).where(mine)).scalars().all()
                self._change(connection, found, values)
                destroyed += len(found)
        self._scrub()
        return destroyed

    def changes(self, after: int | None) -> tuple[list[str], int]:
        """As Keyring.changes, in the order of the commits: none is missed, even with several processes."""
        with self._reading() as connection:
            if after is None:
                last = connection.execute(sa.select(sa.func.max(CHANGES.c.number))).scalar()
                return [], int(last or 0)
            query = sa.select(CHANGES).where(CHANGES.c.number > after).order_by(CHANGES.c.number)
            rows = connection.execute(query).all()
        return [row.key_id for row in rows], rows[-1].number if rows else after

    def pseudonym(self, owner: str) -> str:
        """The first 32 hex digits of HMAC-SHA-256 under the keyring's own key. Never fails."""
        return hmac.digest(self._pepper, owner.encode(), "sha256").hex()[:32]

    def close_connections(self) -> None:
        """Closes the database connections; `close` closes keys."""
        self._engine.dispose()

    def _make(
        self, connection: sa.Connection, missing: Collection[str], ended: Mapping[str, Key]
    ) -> None:
        rows = [self._row(owner, None) for owner in missing]
        rows += [self._row(owner, former) for owner, former in ended.items()]
        connection.execute(self._insert().on_conflict_do_nothing(), rows)

    def _row(self, owner: str, former: Key | None) -> dict[str, Any]:
        """A new key's row. If two processes make the same generation, the first one's row stays."""
        return {
            "owner": self.pseudonym(owner),
            "generation": former.generation + 1 if former else 1,
            "id": secrets.token_hex(8),
            "state": KeyState.LIVE,
            "secret": secrets.token_bytes(32),
            "created": time.time(),
            "former_id": former.id if former else "",
            "since": former.destroyed if former else 0.0,
        }

    def _newest(self, connection: sa.Connection, owners: Collection[str]) -> dict[str, Key]:
        named = {self.pseudonym(owner): owner for owner in owners}
        found: dict[str, Key] = {}
        for chunk in batches(named):
            query = sa.select(KEYS).where(KEYS.c.owner.in_(chunk))
            for row in connection.execute(query.order_by(KEYS.c.generation)):
                found[named[row.owner]] = _key(row)
        return found

    @staticmethod
    def _change(connection: sa.Connection, ids: Sequence[str], values: dict[str, Any]) -> None:
        if ids:
            connection.execute(KEYS.update().where(KEYS.c.id.in_(ids)).values(values))
            connection.execute(CHANGES.insert(), [{"key_id": one} for one in ids])

    def _kept_pepper(self) -> bytes:
        insert = self._insert(PEPPER).values(one=1, secret=secrets.token_bytes(32))
        with self._engine.begin() as connection:
            connection.execute(insert.on_conflict_do_nothing())
            return bytes(connection.execute(sa.select(PEPPER.c.secret)).scalar_one())

    def _insert(self, table: sa.Table = KEYS) -> Any:
        of_postgres = self._engine.dialect.name == "postgresql"
        return postgresql.insert(table) if of_postgres else sqlite.insert(table)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._turn, _translated(), self._engine.begin() as connection:
            # Changes are numbered when written and read by number. So they must be committed in that order,
            # even by two processes. SQLite has one writer at a time.
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with (
            self._turn,
            _translated(),
            self._engine.connect().execution_options(trimtab_read=True) as connection,
        ):
            yield connection

    def _scrub(self) -> None:
        """Removes destroyed secrets from SQLite's write-ahead log."""
        if self._engine.dialect.name == "sqlite":
            with self._turn, _translated(), self._engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _durable(connection: Any, _: Any) -> None:
    """A key must not be lost while its data survives: every commit is on disk before the key is used."""
    if hasattr(connection, "set_authorizer"):  # sqlite3's
        connection.execute("PRAGMA synchronous=FULL")


def _key(row: Any) -> Key:
    return Key(
        id=row.id,
        state=KeyState(row.state),
        secret=bytes(row.secret),
        generation=row.generation,
        destroyed=row.destroyed,
        former_id=row.former_id,
        since=row.since,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(
            f"the keyring: {error.message}", reason="KEYRING_AWAY", retry_after_s=1.0
        ) from error
