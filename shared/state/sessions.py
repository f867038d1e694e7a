"""A service's state as its use cases see it: one session a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.state.database import Database, Transaction

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class SqlStore(Generic[S]):
    """`session_of` makes what reads and writes the service's tables within a transaction."""

    database: Database
    session_of: Callable[[Transaction], S]

    @contextmanager
    def begin(self) -> Iterator[S]:
        """Writes all that is done in the session, or nothing."""
        with self.database.begin() as transaction:
            yield self.session_of(transaction)

    @contextmanager
    def read(self) -> Iterator[S]:
        """To look only: nobody is told of a commit."""
        with self.database.read() as connection:
            yield self.session_of(Transaction(connection))
