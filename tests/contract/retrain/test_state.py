"""Retrain's runs, pairs and personas on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.erasing import RetrainRemover
from services.retrain.adapters.forgetting import ROWS
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.tables import METADATA
from services.retrain.domain.policies import Policy
from services.retrain.domain.queue import Served
from services.retrain.domain.runs import State
from services.retrain.domain.selection import Caps
from services.retrain.domain.snapshots import Persona
from services.retrain.stages import PAIRS
from shared.language.policies import PolicyKey
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.erasure import Erasure
from shared.privacy.retention import Retention
from shared.state import operations
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import LOCAL, START, TRAINED, many, praised


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("retrain", database_url) as database:
        yield House(database)


def test_a_run_is_begun_once_walks_to_its_end_and_tells_it_once(house: House) -> None:
    house.mine()
    begun = house.start("r1", "ann: please")
    assert house.start("r1", "ann: please").run == begun.run
    run = house.walk()
    assert (run.state, run.verdict) == (State.SUCCEEDED, "passed")
    assert house.completed() == house.completed() == [("passed", "assistant-v1")]
    assert operations.get(house.database, f"operations/{run.run}").done
    with house.store.read() as session:
        assert session.by_request(LOCAL, run.request_id) == session.run(run.run) == run
        assert session.runs("local", None, 10) == session.ended(10) == [run]
        assert (session.under_way(), session.next_number()) == ([], run.number + 1)


def test_a_pair_counts_once(house: House) -> None:
    pairs = many(3, 2)
    with house.store.begin() as session:
        assert [session.add_pair(one) for one in [*pairs, pairs[0]]] == [True] * 5 + [False]
    with house.store.read() as session:
        newest = sorted(pairs, key=lambda one: one.time, reverse=True)
        assert session.pairs(LOCAL, 10) == newest
        assert session.pairs(LOCAL, 2) == newest[:2]
        assert session.pairs_of("local", pairs[1].conversation_id) == [pairs[1]]
        assert session.pairs_of("acme", pairs[1].conversation_id) == []
        last = session.newest_pair(LOCAL)
        assert (
            session.train_pairs_after(LOCAL, 0, 9),
            session.train_pairs_after(LOCAL, last, 9),
        ) == (3, 0)
        assert session.train_pairs_after(LOCAL, 0, 2) == 2


def test_a_policy_is_given_its_own_pairs_only(house: House) -> None:
    keys = (LOCAL, PolicyKey("local", "sales"), PolicyKey("acme"), PolicyKey("acme", "sales"))
    with house.store.begin() as session:
        assert session.tenants() == []
        for n, key in enumerate(keys):
            for one in many(3 + n, 1 + n, key):
                assert session.add_pair(one)
    last = 0
    with house.store.read() as session:
        assert session.tenants() == ["acme", "local"]
        for n, key in enumerate(keys):
            found = session.pairs(key, 100)
            own = {(one.tenant, one.policy or "assistant") for one in found}
            assert (len(found), own) == (4 + 2 * n, {(key.tenant, key.policy)})
            assert session.train_pairs_after(key, 0, 100) == 3 + n
            last += 4 + 2 * n
            assert session.newest_pair(key) == last
            assert session.pairs_seen(key) == 0
        nobody = PolicyKey("acme", "tax")
        assert (session.pairs(nobody, 9), session.newest_pair(nobody)) == ([], 0)


def test_runs_are_of_their_tenant_and_policy(house: House) -> None:
    sales, acme = house.policy(PolicyKey("local", "sales")), PolicyKey("acme")
    for key in (LOCAL, sales, acme):
        house.mine(key=key)
        assert house.start("r", key=key).run == house.start("r", key=key).run
    with house.store.read() as session:
        assert [run.key for run in session.under_way()] == [LOCAL, sales, acme]
        assert [run.key for run in session.under_way(sales)] == [sales]
        assert [run.key for run in session.runs("local", None, 9)] == [sales, LOCAL]
        assert [run.key for run in session.runs("local", None, 9, "sales", True)] == [sales]
        assert session.served([LOCAL, acme]) == Served({}, {})
    house.walk_all()
    with house.store.read() as session:
        ended = {run.key: run for run in session.ended(9)}
        assert session.under_way() == session.runs("local", None, 9, "sales", True) == []
        begun = {key: run.begun for key, run in ended.items() if run.begun}
        tenants = {"acme": begun[acme], "local": max(begun[LOCAL], begun[sales])}
        assert session.served(list(begun)) == Served(tenants, begun)
        # Each has seen its own pairs, and all of them.
        for key in (LOCAL, sales, acme):
            assert session.pairs_seen(key) == session.newest_pair(key)
    again = house.start("again", key=sales)
    found = house.app.newest([LOCAL, sales, PolicyKey("beta")])
    assert found == {LOCAL: ended[LOCAL].run, sales: again.run}


def test_mined_pairs_that_come_again_are_counted_as_such(house: House) -> None:
    house.mine(4, 1)
    house.mine(4, 1)
    assert house.counts(PAIRS)["taken"] == 5


def test_an_older_persona_does_not_replace_a_newer_one(house: House) -> None:
    with house.store.begin() as session:
        for text, version in (("first", 1), ("third", 3), ("second", 2)):
            session.set_persona(Persona("local", "ann", text, version, START))
        assert session.personas({"local/ann", "local/bob"}) == {"local/ann": "third"}


def test_a_users_pairs_go_once(house: House, tmp_path: Path) -> None:
    house.mine()
    remover = RetrainRemover(house.database, ParquetSnapshots(str(tmp_path)), house.app)
    gone = []
    for _ in range(2):
        with house.database.begin() as transaction:
            erasure = Erasure("e1", "local", TRAINED[0])
            gone.append(remover.remove_rows(erasure, transaction)["pairs"])
    assert gone[0] > gone[1] == 0
    with house.store.read() as session:
        assert TRAINED[0] not in {one.user_id for one in session.pairs(LOCAL, 100)}


def test_praised_answers_are_kept_by_policy_and_taken_back(house: House) -> None:
    ours = [praised(n, TRAINED[n]) for n in range(3)]
    other = praised(7, TRAINED[0], policy="support")
    with house.store.begin() as session:
        assert [session.add_praised(one) for one in [*ours, other, ours[0]]] == [True] * 4 + [False]
        assert session.praised(LOCAL, 9) == ours[::-1]
        assert session.praised(LOCAL, 2) == [ours[2], ours[1]]
        assert session.praised(PolicyKey("local", "support"), 9) == [other]
        assert session.praised_of("local", other.conversation_id) == [other]
        assert session.praised_of("acme", other.conversation_id) == []
        session.drop_praised("acme", ["p000"])
        session.drop_praised("local", ["p001", "nobody's"])
        assert session.praised(LOCAL, 9) == [ours[2], ours[0]]


def test_nothing_on_a_live_path_reads_a_whole_table(house: House, tmp_path: Path) -> None:
    house.rules = replace(house.rules, volume_pairs=3, caps=Caps(praised_answers=8))
    object.__setattr__(house.app, "rules", house.rules)
    remover = RetrainRemover(house.database, ParquetSnapshots(str(tmp_path)), house.app)
    with recorded(house.database) as said:
        house.mine()
        assert house.app.on_volume(Policy(LOCAL)) is not None
        house.alarm("a")
        house.walk()
        house.app.on_volume(Policy(LOCAL))
        house.app.known()
        assert house.app.newest([LOCAL])
        house.runs(10)
        house.app.runs("local", 2, 10)
        house.app.runs("local", 2, 10, "assistant", under_way=True)
        house.app.preview(LOCAL, lambda digest: digest)
        erasure = Erasure("e1", "local", TRAINED[0], ("c1", "c2"))
        remover.survey(erasure)
        with house.database.begin() as transaction:
            remover.remove_rows(erasure, transaction)
        with house.store.begin() as session:
            session.add_praised(praised(3, TRAINED[1]))
            session.drop_praised("local", ["p003"])
        list(remover.holdings("local", TRAINED[1]))
        rules = RetentionPolicy({"*": Keep(store_days=30), "acme": Keep(store_days=7)})
        Retention(house.database, ROWS, rules, lambda: house.time, seen_days=3).once()
        with house.store.read() as session:
            session.pairs_of("local", "c3")
            session.praised(LOCAL, 5000)
            session.runs_of(["a"])
            session.train_pairs_after(LOCAL, 0, 10)
    assert len(said) > 60
    assert whole_tables(house.database, said, METADATA) == []
