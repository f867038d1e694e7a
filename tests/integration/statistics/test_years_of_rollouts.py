"""What the registry keeps of rollouts with many users, and of years of champions."""

from __future__ import annotations

import sqlalchemy as sa

from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.tables import ROLLOUT_USERS, ROLLOUTS
from services.registry.app.changes import rollout_of
from services.registry.domain.rollouts import Observation, Rollout
from shared.state.sessions import SqlStore
from tests.unit.registry.test_registry import HOME, START, House


def test_what_is_kept_of_a_rollout_does_not_grow_with_its_users() -> None:
    house = House()
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    sizes = []
    with SqlStore(house.database, SqlSession).begin() as session:
        for n in range(1500):
            seen = Observation(
                "local", f"u{n}", "assistant-v0", "follow_up", "positive", False, house.time
            )
            assert house.judge.observe(session, seen) == ""
            if n in (499, 1499):
                sizes.append(_size(house, session))
        assert rollout_of(session, HOME).test.champion.users == 1500
    assert sizes[1] <= sizes[0] + 10
    house.app.rollback(HOME, "", "ann", "enough")
    with house.database.read() as connection:
        assert connection.execute(sa.select(ROLLOUT_USERS)).all() == []
    assert len(house.app.rollout(HOME)[0].test.champion.waiting) == 0


def _size(house: House, session: SqlSession) -> int:
    return len(session._connection.execute(sa.select(ROLLOUTS.c.body)).scalar_one())


def test_the_champions_of_years_are_bounded() -> None:
    house = House()
    house.register("a")
    for n in range(120):
        house.app.promote("local", f"assistant-v{(n + 1) % 2}", "ann", "again")
    assert house.app.rollout(HOME)[0].champions == ("assistant-v1", "assistant-v0")
    rollout = Rollout(HOME, 1, tuple(f"v{n}" for n in range(60)), START)
    assert rollout.followed_by("new") == (*rollout.champions[11:], "new")
