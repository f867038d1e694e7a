"""A service's state as its use cases see it: one session per transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.state.database import Database, Transaction

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class SqlStore(Generic[S]):
    """`session_of` creates the object that reads and writes the service's tables within a transaction."""

    database: Database
    session_of: Callable[[Transaction], S]

    @contextmanager
    def begin(self) -> Iterator[S]:
        """A write transaction: writes everything that the session did, or nothing."""
        with self.database.begin() as transaction:
            yield self.session_of(transaction)

    @contextmanager
    def alone(self, lock: int) -> Iterator[None]:
        """See Database.alone."""
        with self.database.alone(lock):
            yield

    @contextmanager
    def read(self) -> Iterator[S]:
        """A read-only transaction: no listener is called."""
        with self.database.read() as connection:
            yield self.session_of(Transaction(connection))
