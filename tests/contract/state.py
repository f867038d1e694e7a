"""A service's database as its process opens it: brought to the newest of its revisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.paths import REPO
from shared.state.database import Database


@contextmanager
def opened(service: str, url: str) -> Iterator[Database]:
    database = Database(url, revisions=REPO / "services" / service / "migrations")
    try:
        yield database
    finally:
        database.close()
