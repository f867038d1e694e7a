"""What the registry keeps of rollouts with many users, and of years of champions."""

from __future__ import annotations

import sqlalchemy as sa

from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.tables import ROLLOUT, ROLLOUT_USERS
from services.registry.domain import Observation, Rollout
from shared.state.sessions import SqlStore
from tests.unit.registry.test_registry import START, House


def test_what_is_kept_of_a_rollout_does_not_grow_with_its_users() -> None:
    house = House()
    house.register("a")
    house.app.start_rollout("r", "assistant-v1", 0.0, "retrain", "passed")
    sizes = []
    with SqlStore(house.database, SqlSession).begin() as session:
        for n in range(1500):
            seen = Observation(f"u{n}", "assistant-v0", "follow_up", "positive", False, house.time)
            assert house.judge.observe(session, seen) == ""
            if n in (499, 1499):
                sizes.append(_size(house, session))
        assert session.rollout().test.champion.users == 1500
    assert sizes[1] <= sizes[0] + 10
    house.app.rollback("", "ann", "enough")
    with house.database.read() as connection:
        assert connection.execute(sa.select(ROLLOUT_USERS)).all() == []
    assert len(house.app.rollout()[0].test.champion.waiting) == 0


def _size(house: House, session: SqlSession) -> int:
    return len(session._connection.execute(sa.select(ROLLOUT.c.body)).scalar_one())


def test_the_champions_of_years_are_bounded() -> None:
    house = House()
    house.register("a")
    for n in range(120):
        house.app.promote(f"assistant-v{(n + 1) % 2}", "ann", "again")
    assert house.app.rollout()[0].champions == ("assistant-v1", "assistant-v0")
    rollout = Rollout(1, tuple(f"v{n}" for n in range(60)), START)
    assert rollout.followed_by("new") == (*rollout.champions[11:], "new")
