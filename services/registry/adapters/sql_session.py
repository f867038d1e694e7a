"""The registry's state within one transaction."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.registry.adapters.tables import ROLLOUT, ROLLOUT_USERS, VERSIONS
from services.registry.codec import encode_promotion
from services.registry.domain import Change, Observation, Promotion, Rollout, State, Version
from shared.language.errors import NotFound
from shared.language.identifiers import stable_id
from shared.state.database import Transaction
from shared.state.jobs import enqueue
from shared.statistics.betting import Arm, RolloutTest

# The job that sets MLflow's aliases.
ALIASES = "registry.aliases"
# The job that removes the adapter of a version that was rejected.
WITHDRAWALS = "registry.withdrawals"
# There is one row for what is served.
_ONE = 1


class SqlSession:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def version(self, version: str) -> Version | None:
        return self._one(VERSIONS.c.version == version)

    def by_request(self, request_id: str) -> Version | None:
        return self._one(VERSIONS.c.request_id == request_id)

    def versions(self, below: int | None, most: int) -> list[Version]:
        query = sa.select(VERSIONS.c.body).order_by(VERSIONS.c.number.desc()).limit(most)
        if below is not None:
            query = query.where(VERSIONS.c.number < below)
        return [_version(row.body) for row in self._connection.execute(query)]

    def next_number(self) -> int:
        most = self._connection.execute(sa.select(sa.func.max(VERSIONS.c.number))).scalar()
        return 0 if most is None else int(most) + 1

    def put(self, version: Version) -> None:
        body = json.dumps(asdict(version), default=_plain)
        insert = self._transaction.insert(VERSIONS).values(
            version=version.version,
            number=version.number,
            request_id=version.request_id or None,
            body=body,
        )
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["version"], set_={"body": body})
        )

    def rollout(self) -> Rollout:
        row = self._connection.execute(
            sa.select(ROLLOUT.c.body).where(ROLLOUT.c.id == _ONE)
        ).first()
        if row is None:
            raise NotFound("the registry has not been initialised yet: start the service once")
        return _rollout(row.body)

    def set_rollout(self, rollout: Rollout) -> None:
        body = json.dumps(asdict(rollout), default=_plain)
        insert = self._transaction.insert(ROLLOUT).values(id=_ONE, body=body)
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["id"], set_={"body": body})
        )

    def tell(self, promotion: Promotion) -> None:
        self._transaction.emit(encode_promotion(promotion))
        # A durable job: MLflow may be unavailable while serving goes on.
        enqueue(self._transaction, ALIASES, f"aliases/{promotion.rollout.revision}", {})

    def withdraw(self, version: str) -> None:
        payload = {"version": version}
        enqueue(self._transaction, WITHDRAWALS, f"{WITHDRAWALS}/{version}", payload)

    def first_of_user(self, seen: Observation) -> bool:
        insert = self._transaction.insert(ROLLOUT_USERS).values(
            version=seen.model_version, user_digest=stable_id("rollout-user", seen.user)
        )
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def forget_users(self) -> None:
        self._connection.execute(ROLLOUT_USERS.delete())

    def _one(self, condition: sa.ColumnElement[bool]) -> Version | None:
        row = self._connection.execute(sa.select(VERSIONS.c.body).where(condition)).first()
        return _version(row.body) if row else None


def _version(body: str) -> Version:
    values = json.loads(body)
    changes = tuple(
        Change(State(c["state"]), c["actor"], c["reason"], datetime.fromisoformat(c["time"]))
        for c in values.pop("changes")
    )
    state = State(values.pop("state"))
    time = datetime.fromisoformat(values.pop("create_time"))
    return Version(**values, state=state, create_time=time, changes=changes)


def _rollout(body: str) -> Rollout:
    values = json.loads(body)
    start, test = values.pop("start_time"), values.pop("test")
    return Rollout(
        **{**values, "champions": tuple(values["champions"])}
        | {"update_time": datetime.fromisoformat(values["update_time"])},
        start_time=datetime.fromisoformat(start) if start else None,
        test=_test(test),
    )


def _test(values: dict[str, Any]) -> RolloutTest:
    return RolloutTest(
        champion=_arm(values["champion"]),
        canary=_arm(values["canary"]),
        pairs=values["pairs"],
        log_better=tuple(values["log_better"]),
        log_worse=tuple(values["log_worse"]),
    )


def _arm(values: dict[str, Any]) -> Arm:
    return Arm(values["users"], values["total"], tuple(values["waiting"]))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no plain form")
