"""Alembic for every service: `upgrade` brings a database to the newest revision of its service.

A service keeps its revisions in `services/<service>/migrations/`; this folder is the environment that
they share. The kernel's own tables (positions, seen ids, outbox, counts, jobs, operations) are part of
each service's revisions, as each service has its own database; `kernel` has what their revisions share.
The keyring, which belongs to all services, has its revisions in `shared/vault/migrations/`.

    python -m infra.migrations interaction "what changes"

writes the next revision from the difference between the revisions and the tables in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

_HERE = Path(__file__).parent
# Any number, the same everywhere: the holder of this advisory lock may migrate a PostgreSQL database.
_LOCK = 7_236_001
# Name prefixes of tables that the metadata cannot describe; revisions create them by hand.
_UNDESCRIBED = ("turn_words",)


def upgrade(engine: sa.Engine, revisions: Path, revision: str = "head") -> None:
    """Brings the database to `revision`, in one transaction. If two processes start together they take turns,
    and the second finds nothing to do."""
    with engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE, which is the lock
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config = _config(revisions)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def newest(revisions: Path) -> str:
    """The revision that `upgrade` ends at."""
    return str(ScriptDirectory.from_config(_config(revisions)).get_current_head())


def differences(engine: sa.Engine, tables: Sequence[sa.MetaData]) -> list[object]:
    """What the database lacks, or has beyond the tables."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": described, "compare_type": True}
        )
        every: Any = list(tables)
        return list(compare_metadata(context, every))


def write(engine: sa.Engine, revisions: Path, tables: Sequence[sa.MetaData], message: str) -> Path:
    """Writes the next revision and returns its path. `engine` is of an empty database; it is upgraded, then
    compared with `tables`."""
    upgrade(engine, revisions)
    config = _config(revisions)
    number = len(list(revisions.glob("r[0-9]*.py"))) + 1
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "tables": list(tables)}
        made = command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
    if made is None or isinstance(made, list):
        raise RuntimeError("Alembic did not write exactly one revision")
    return Path(made.path)


def described(name: str | None, kind: str, _: object) -> bool:
    """Whether the metadata describes this table."""
    return kind != "table" or not (name or "").startswith(_UNDESCRIBED)


def _config(revisions: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("version_locations", str(revisions))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    return config
