"""Loops that wait for a commit are woken by writes, not by reads."""

from shared.state.database import Database
from shared.state.tables import COUNTS, OUTBOX


def test_a_transaction_that_only_looked_wakes_nobody() -> None:
    database, woken = Database("sqlite://"), list[int]()
    database.after_commit(lambda: woken.append(1))
    with database.begin() as transaction:
        assert transaction.positions("stage") == {}
    assert woken == []
    with database.begin() as transaction:
        transaction.count("stage", "taken")
    assert woken == [1]
    with database.begin():
        pass
    assert woken == [1]


def test_who_waits_for_a_table_is_woken_by_what_is_written_to_it() -> None:
    database, woken = Database("sqlite://"), list[str]()
    database.after_commit(lambda: woken.append("outbox"), OUTBOX)
    database.after_commit(lambda: woken.append("counts"), COUNTS)
    with database.begin() as transaction:
        transaction.count("stage", "taken")
    assert woken == ["counts"]
    with database.begin() as transaction:
        transaction.connection.execute(OUTBOX.delete())
    assert woken == ["counts", "outbox"]


def test_everybody_is_woken_when_the_process_ends() -> None:
    database, woken = Database("sqlite://"), list[str]()
    database.after_commit(lambda: woken.append("any"))
    database.after_commit(lambda: woken.append("outbox"), OUTBOX)
    database.wake()
    assert woken == ["any", "outbox"]
