"""Who waits for a commit is woken by writes, not by looks."""

from shared.database import Database


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
