"""The revisions create what the code expects; data stored before is kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from infra.migrations.__main__ import module_of
from shared.state import migrations
from shared.state.database import Database
from shared.state.engine import open_engine

SERVICES = sorted(one.parent.name for one in (REPO / "services").glob("*/migrations"))


def revisions(service: str) -> Path:
    return REPO / module_of(service).replace(".", "/")


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state.db'}"


def test_every_service_with_a_database_has_revisions() -> None:
    with_database = {
        main.parent.name
        for main in (REPO / "services").glob("*/main.py")
        if "Database(" in main.read_text()
    }
    assert with_database <= set(SERVICES)


@pytest.mark.parametrize("service", [*SERVICES, "keyring"])
def test_the_revisions_make_the_tables_of_the_code(service: str, tmp_path: Path) -> None:
    engine = open_engine(url(tmp_path))
    migrations.upgrade(engine, revisions(service))
    tables = import_module(module_of(service)).TABLES
    assert migrations.differences(engine, tables) == []


def test_a_difference_is_seen(tmp_path: Path) -> None:
    engine = open_engine(url(tmp_path))
    migrations.upgrade(engine, revisions("reward"))
    more = sa.MetaData()
    sa.Table("more", more, sa.Column("id", sa.String, primary_key=True))
    tables = (*import_module("services.reward.migrations").TABLES, more)
    changes: list[Any] = migrations.differences(engine, tables)
    assert [change[0] for change in changes] == ["add_table"]


def test_processes_that_start_at_once_take_turns(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        opened = [
            threads.submit(Database, url(tmp_path), revisions=revisions("reward")) for _ in range(4)
        ]
        databases = [one.result() for one in opened]
    with databases[0].read() as connection:
        held = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
        assert list(held) == [migrations.newest(revisions("reward"))]
    for database in databases:
        database.close()
