"""Brings every database that the environment names to its newest revision; creates those that are missing.

Services migrate when they start, too. Done once beforehand, an upgrade that cannot migrate stops before any
service has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from shared.language.errors import Unavailable
from shared.state import migrations
from shared.state.engine import open_engine

_OWN = re.compile(r"TRIMTAB_([A-Z]+)_DATABASE_URL")
_KEYRING = "TRIMTAB_KEYRING_URL"
# Where PostgreSQL's own list of databases is.
_MAINTENANCE = "postgres"


def named(environment: Mapping[str, str]) -> dict[str, str]:
    """The URL of each database by its owner: a service, or the keyring that they share."""
    found = {
        match[1].lower(): url
        for name, url in environment.items()
        if (match := _OWN.fullmatch(name))
    }
    return found | ({"keyring": environment[_KEYRING]} if _KEYRING in environment else {})


def migrate(environment: Mapping[str, str]) -> list[str]:
    """A line for each database. Raises Unavailable if one cannot be reached."""
    lines = []
    for owner, url in sorted(named(environment).items()):
        made = _create(url)
        engine = open_engine(url)
        revisions = revisions_of(owner)
        migrations.upgrade(engine, revisions)
        engine.dispose()
        lines.append(f"{owner}: {'created, ' if made else ''}at {migrations.newest(revisions)}")
    return lines


def revisions_of(owner: str) -> Path:
    package = "shared.vault" if owner == "keyring" else f"services.{owner}"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"there is no service {owner!r} to migrate a database of")
    return Path(spec.origin).with_name("migrations")


def _create(url: str) -> bool:
    """Whether the database was missing. A role that may not see or create databases has them created by whoever
    may."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return False
    engine = open_engine(parsed.set(database=_MAINTENANCE).render_as_string(hide_password=False))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            there = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.execute(there, {"name": parsed.database}).first():
                return False
            quoted = connection.dialect.identifier_preparer.quote_identifier(str(parsed.database))
            connection.execute(sa.text(f"CREATE DATABASE {quoted}"))
    except sa.exc.DBAPIError as error:
        raise Unavailable(
            f"the database {parsed.database} cannot be created: {str(error.orig).strip()}; create it, "
            f"owned by {parsed.username}",
            reason="DATABASE_MISSING",
        ) from error
    finally:
        engine.dispose()
    return True
