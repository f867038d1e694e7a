"""Memberships on SQLite and on PostgreSQL: versions, members, age, and two writers at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.reward.adapters.aging import aging
from services.reward.domain import Answer, Judgement, Pair, Rating
from services.reward.people.adapters.sql_evidence import SqlEvidence
from services.reward.people.domain import (
    Division,
    Learnt,
    Taste,
    composed,
    nobody_yet,
)
from services.reward.tables import DUE, MEMBERS, METADATA
from shared.language.groups import UNKNOWN
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened
from tests.unit.reward.running import NOW, RewardService

DIVISION = Division(
    "rewardModels/reward-v1", (Taste("shorter", (("shorter", 9.5),)), Taste("lists"))
)


@pytest.fixture
def service(database_url: str) -> Iterator[RewardService]:
    with opened("reward", database_url) as database:
        made = RewardService(database=database)
        with database.begin() as transaction:
            made.people(transaction).divide("local", DIVISION)
        yield made


def learn(service: RewardService, user: str, probabilities: dict[str, float]) -> None:
    with service.database.begin() as transaction:
        people = service.people(transaction)
        former = people.get("local", user) or nobody_yet("local", user, service.now)
        standing = replace(former, learnt=Learnt(probabilities, 5, ("t1",)))
        people.put(standing, composed(standing, people.division("local"), service.now))


def test_what_is_put_is_what_is_read(service: RewardService) -> None:
    learn(service, "ada", {"shorter": 0.9, "lists": 0.1})
    learn(service, "ben", {"shorter": 0.5, "lists": 0.5})
    service.correct("local", "ben", "lists", {"plan": "free"}, "ben", "I do")
    with service.database.begin() as transaction:
        read = service.people(transaction).get("local", "ben")
    assert read is not None
    assert read.membership == service.memberships.get("local", "ben")
    assert (read.said.group, read.learnt.group, read.membership.version) == ("lists", UNKNOWN, 2)
    reads = service.memberships
    assert reads.division("local") == DIVISION
    assert reads.sizes("local") == {"shorter": 1, "lists": 1, "plan=free": 1}
    assert reads.groups_of("local", ["ada", "ben", "eve"]) == {
        "ada": ("shorter",),
        "ben": ("lists", "plan=free"),
    }
    # What is learnt is remembered apart from what is said of it.
    assert reads.learnt_groups("local", ["ada", "ben"]) == {"ada": "shorter"}
    assert [one.user_id for one in reads.page("local", "lists", "", 5).memberships] == ["ben"]
    assert reads.page("local", "", "", 1).more
    assert reads.page("acme", "", "", 5).memberships == []
    learn(service, "ada", {"shorter": 0.1, "lists": 0.9})
    assert reads.sizes("local") == {"lists": 2, "plan=free": 1}
    assert [one.group for one in reads.versions("local", "ada", None, 5).memberships] == [
        "lists",
        "shorter",
    ]


def test_two_writers_make_every_version_once(service: RewardService, database_url: str) -> None:
    with opened("reward", database_url) as other:
        writers = [service, RewardService(database=other)]

        def correct(number: int) -> int:
            group = ("shorter", "lists")[number % 2]
            said = writers[number % 2].correct("local", "ada", group, {}, "ada", f"n{number}")
            return said.version

        with ThreadPoolExecutor(4) as threads:
            versions = sorted(threads.map(correct, range(20)))
    assert versions == list(range(1, 21))
    kept = service.memberships.versions("local", "ada", None, 50).memberships
    assert [one.version for one in kept] == versions[::-1]
    assert service.memberships.get("local", "ada") == kept[0]
    assert [one.version for one in service.updated()] == versions


def test_two_replicas_that_learn_the_same_publish_it_once(
    service: RewardService, database_url: str
) -> None:
    users = [f"u{number}" for number in range(30)]
    learnt = {user: Learnt({"shorter": 0.95, "lists": 0.05}, 4) for user in users}
    with service.database.begin() as transaction:
        service.people(transaction).mark_due("local", users)
    tenant, marks = service.memberships.due(64, "")
    assert (tenant, marks) == ("local", dict.fromkeys(users, 1))
    with opened("reward", database_url) as other:
        keepers = [service.learning.keep, RewardService(database=other).learning.keep]
        with ThreadPoolExecutor(2) as threads:
            kept = [threads.submit(one, tenant, DIVISION, learnt, marks) for one in keepers]
        assert [one.result() for one in kept] == [True, True]
    assert service.memberships.sizes("local") == {"shorter": 30}
    assert sorted(one.user_id for one in service.updated()) == sorted(users)
    assert service.memberships.due(64, "") == ("", {})
    # What was learnt by a model that is no longer the newest is left to be learnt again.
    with service.database.begin() as transaction:
        service.people(transaction).mark_due("local", ["u1"])
    anew = Division("rewardModels/reward-v2", DIVISION.tastes)
    assert not service.learning.keep("local", anew, {"u1": Learnt()}, {"u1": 1})
    assert service.memberships.due(64, "") == ("local", {"u1": 1})


def test_tenants_take_turns_and_a_sweep_asks_for_everyone(service: RewardService) -> None:
    with service.database.begin() as transaction:
        people = service.people(transaction)
        for tenant in ("acme", "local", "zoo"):
            people.mark_due(tenant, ["ada", "ben"])
    reads = service.memberships
    assert reads.due(1, "") == ("acme", {"ada": 1})
    assert reads.due(1, "acme") == ("local", {"ada": 1})
    assert reads.due(1, "zoo") == ("acme", {"ada": 1})
    learn(service, "ada", {"shorter": 0.9, "lists": 0.1})
    with service.database.begin() as transaction:
        intake, answer = service.intake(transaction), Answer("q", "a")
        intake.add_judgement("local", Judgement("j1", "ben", answer, True, NOW))
        intake.add_pair("local", Pair("p1", "cleo", answer, Answer("q", "b"), NOW))
        intake.add_rating("local", Rating("r1", "dan", answer, 0.9, NOW))
    assert reads.users_after("local", "", 3) == ["ada", "ben", "cleo"]
    assert reads.users_after("local", "cleo", 3) == ["dan"]
    said = SqlEvidence(service.database).of_users("local", ["ben", "cleo", "dan", "eve"], 5)
    assert said["ben"].judgements == (Judgement("j1", "ben", answer, True, NOW),)
    assert [one.pair_id for one in said["cleo"].pairs] == ["p1"]
    assert [one.is_content for one in said["dan"].judged] == [True]
    assert said["eve"].names("local") == ()


def test_what_comes_while_it_is_learnt_stays_due(service: RewardService) -> None:
    with service.database.begin() as transaction:
        people = service.people(transaction)
        people.mark_due("local", ["ada", "ben"])
        people.mark_due("local", ["ben"])
        people.take_due("local", {"ada": 1, "ben": 1})
    with service.database.read() as connection:
        left = connection.execute(sa.select(DUE.c.user_id, DUE.c.mark)).all()
    assert [tuple(row) for row in left] == [("ben", 2)]


def test_who_says_nothing_for_long_is_no_longer_kept_and_everyone_is_told(
    service: RewardService,
) -> None:
    learn(service, "ada", {"shorter": 0.9, "lists": 0.1})
    learn(service, "ben", {"shorter": 0.9, "lists": 0.1})
    learn(service, "ben", {"shorter": 0.1, "lists": 0.9})
    service.now = NOW + timedelta(days=20)
    service.turn(0, "user", "Hi?", user="ben")
    service.drain()
    service.now = NOW + timedelta(days=31)
    policy = RetentionPolicy({"*": Keep(30, 90)})
    retention = Retention(service.database, aging(), policy, lambda: service.now, seen_days=3)
    with recorded(service.database) as asked:
        while retention.once():
            continue
    assert service.memberships.get("local", "ada") is None
    kept = service.memberships.versions("local", "ben", None, 5).memberships
    assert [one.version for one in kept] == [2]
    with service.database.read() as connection:
        assert connection.execute(sa.select(MEMBERS.c.user_id)).scalars().all() == ["ben"]
    gone = service.updated()[-1]
    assert (gone.user_id, gone.version, gone.is_removed, gone.groups) == ("ada", 1, True, ())
    assert [one for one in whole_tables(service.database, asked, METADATA) if "member" in one] == []


def test_live_paths_read_no_table_from_end_to_end(service: RewardService) -> None:
    for number in range(30):
        learn(service, f"u{number:02}", {"shorter": 0.9, "lists": 0.1})
    with recorded(service.database) as asked:
        service.turn(0, "user", "Hi?", user="u01", metadata={"segment.plan": "free"})
        service.turn(2, "user", "Hi?", user="u02")
        service.drain()
        service.correct("local", "u03", UNKNOWN, {}, "u03", "")
        service.memberships.groups_of("local", ["u01", "u02"])
        service.memberships.page("local", "shorter", "u05", 3)
        service.memberships.page("local", "", "u05", 3)
        service.memberships.versions("local", "u01", 5, 3)
        service.memberships.learnt_groups("local", ["u01"])
        service.memberships.users_after("local", "u05", 3)
        service.memberships.due(3, "")
        SqlEvidence(service.database).of_users("local", ["u01"], 5)
    small = ("people_divisions", "waiting_answers", "reward_progress", "reward_models")
    found = whole_tables(service.database, asked, METADATA)
    assert [one for one in found if not any(f" {name}" in one for name in small)] == []
