"""Writing, on SQLite and PostgreSQL: writers take turns; transient errors are Unavailable."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from shared.language.errors import Unavailable
from shared.state.database import Database, Transaction
from shared.state.tables import SEEN

TABLES = sa.MetaData()
COUNTER = sa.Table(
    "counter",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
    sa.Column("words", sa.Text, nullable=False, server_default=""),
)
ROUNDS = 40


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, TABLES)
    with opened.begin() as transaction:
        transaction.connection.execute(COUNTER.insert().values(name="n", value=0))
    yield opened
    opened.close()


def _value(connection: sa.Connection) -> int:
    return connection.execute(sa.select(COUNTER.c.value)).scalar_one()


def _increment(transaction: Transaction) -> None:
    """Read, decide, write: what goes wrong if two do it concurrently."""
    value = _value(transaction.connection)
    time.sleep(0.001)
    transaction.connection.execute(COUNTER.update().values(value=value + 1))


def increment(database: Database, rounds: int = ROUNDS) -> None:
    for _ in range(rounds):
        with database.begin() as transaction:
            _increment(transaction)


def test_rows_of_one_statement_are_all_there_in_order_and_wake_who_waits(
    database: Database,
) -> None:
    waker, others = database.waker(COUNTER), database.waker(SEEN)
    # More values than a statement takes.
    rows = [(f"n{n}", n, "50% 'ü'?") for n in range(25_000)]
    with database.begin() as transaction:
        assert transaction.insert_rows(COUNTER, ("name", "value", "words"), rows) == []
    assert (waker.is_set(), others.is_set()) == (True, False)
    with database.read() as connection:
        query = sa.select(COUNTER).where(COUNTER.c.name != "n").order_by(COUNTER.c.value)
        assert [tuple(row) for row in connection.execute(query)] == rows


def test_no_rows_write_nothing(database: Database) -> None:
    waker = database.waker(COUNTER)
    with database.begin() as transaction:
        assert transaction.insert_rows(COUNTER, (), []) == []
        assert transaction.first_time("s", []) == set()
    assert not waker.is_set()


def test_a_row_that_is_there_stops_all_or_is_passed_over(database: Database) -> None:
    rows = [("m", 1), ("n", 2)]
    with database.begin() as transaction:
        with pytest.raises(sa.exc.IntegrityError), transaction.savepoint():
            transaction.insert_rows(COUNTER, ("name", "value"), rows)
        after = "ON CONFLICT (name) DO NOTHING RETURNING name, value"
        new = transaction.insert_rows(COUNTER, ("name", "value"), rows, after=after)
    assert [tuple(row) for row in new] == [("m", 1)]


def test_no_update_of_two_threads_is_lost(database: Database, database_url: str) -> None:
    other = Database(
        database_url, TABLES
    )  # like another replica: it shares no lock with this process
    with ThreadPoolExecutor(4) as threads:
        for one in [threads.submit(increment, each) for each in (database, other, database, other)]:
            one.result()
    with database.read() as connection:
        assert _value(connection) == 4 * ROUNDS
    other.close()


def test_no_update_of_two_processes_is_lost(database: Database, database_url: str) -> None:
    code = (
        "from tests.contract.shared.test_database import *; import sys;"
        "increment(Database(sys.argv[1], TABLES))"
    )
    command = [sys.executable, "-c", code, database_url]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    with database.read() as connection:
        assert _value(connection) == 2 * ROUNDS


def test_a_reader_sees_one_moment_and_waits_for_nobody(database: Database) -> None:
    with database.read() as connection:
        assert _value(connection) == 0
        increment(database, 1)
        assert _value(connection) == 0
    with database.read() as connection:
        assert _value(connection) == 1


def test_what_is_read_in_a_write_transaction_stays_so(
    database: Database, database_url: str
) -> None:
    other = Database(database_url, TABLES)
    began, done = threading.Event(), threading.Event()

    def write() -> None:
        began.set()
        increment(other, 1)
        done.set()

    with database.begin() as transaction:
        before = _value(transaction.connection)
        thread = threading.Thread(target=write)
        thread.start()
        assert began.wait(5)
        assert not done.wait(0.3)
        assert _value(transaction.connection) == before
    assert done.wait(30)
    thread.join()
    other.close()


def test_a_full_disk_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("full")
    database = Database(f"sqlite:///{folder / 'state.db'}", TABLES)

    @sa.event.listens_for(database.engine, "begin")
    def _limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=60")

    with pytest.raises(Unavailable) as raised, database.begin() as transaction:
        row = {"name": "big", "value": 1, "words": "x" * 1_000_000}
        transaction.connection.execute(COUNTER.insert().values(**row))
    assert raised.value.reason == "DATABASE_FULL"
    with database.begin() as transaction:
        transaction.connection.execute(COUNTER.insert().values(name="small", value=1))
    database.close()


def test_a_fault_of_the_statement_is_not(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError), database.begin() as transaction:
        transaction.connection.execute(sa.text("SELECT nothing FROM nowhere"))
    with pytest.raises(sa.exc.IntegrityError), database.begin() as transaction:
        transaction.connection.execute(COUNTER.insert().values(name="n", value=1))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_ends_is_unavailable_and_the_next_one_works(database: Database) -> None:
    with pytest.raises(Unavailable) as raised, database.begin() as transaction:
        own = transaction.connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        with database.read() as connection:
            connection.execute(sa.select(sa.func.pg_terminate_backend(own)))
        _increment(transaction)
    assert raised.value.reason == "DATABASE_AWAY"
    increment(database, 1)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_writer_that_stands_still_does_not_hold_up_the_others_for_ever(
    database: Database, database_url: str
) -> None:
    stopped = Database(
        f"{database_url}?options=-c%20idle_in_transaction_session_timeout%3D500ms", TABLES
    )
    with pytest.raises(Unavailable) as raised, stopped.begin() as transaction:
        _increment(transaction)
        increment(database, 1)  # waits until the server has ended the other
        _increment(transaction)
    assert raised.value.reason == "DATABASE_AWAY"
    with database.read() as connection:
        assert _value(connection) == 1
    stopped.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_not_there_is_unavailable(database_url: str) -> None:
    nowhere = sa.make_url(database_url).set(port=1).render_as_string(hide_password=False)
    with pytest.raises(Unavailable) as raised:
        Database(nowhere, TABLES)
    assert raised.value.reason == "DATABASE_AWAY"
