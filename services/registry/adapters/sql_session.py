"""The registry's state within one transaction."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from services.registry.adapters.bodies import (
    policy_body,
    read_policy,
    read_rollout,
    read_version,
    rollout_body,
    version_body,
)
from services.registry.adapters.tables import POLICIES, ROLLOUT_USERS, ROLLOUTS, VERSIONS
from services.registry.codec.events import encode_promotion
from services.registry.domain.policies import Policy
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import Promotion, Version
from services.registry.ports import ALIASES, WITHDRAWALS, Counted
from shared.language.errors import NotFound
from shared.language.identifiers import stable_id
from shared.language.policies import PolicyKey, policy_of_version
from shared.state.database import Transaction
from shared.state.jobs import enqueue

_OWNED = (VERSIONS, ROLLOUTS, ROLLOUT_USERS)


class SqlSession:
    """The Session port within one transaction. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def version(self, tenant: str, version: str) -> Version | None:
        policy = policy_of_version(version)
        if not policy:
            return None
        number = int(version.removeprefix(f"{policy}-v"))
        theirs = (VERSIONS.c.tenant == tenant) & (VERSIONS.c.policy == policy)
        return self._one(theirs & (VERSIONS.c.number == number))

    def first_version(self) -> Version:
        query = sa.select(VERSIONS).order_by(VERSIONS.c.place).limit(1)
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFound("the registry has not been initialised yet: start the service once")
        return read_version(row)

    def by_request(self, key: PolicyKey, request_id: str) -> Version | None:
        return self._one(_of(VERSIONS, key) & (VERSIONS.c.request_id == request_id))

    def versions(self, tenant: str, policy: str, below: int | None, most: int) -> list[Version]:
        query = sa.select(VERSIONS).where(VERSIONS.c.tenant == tenant)
        if policy:
            query = query.where(VERSIONS.c.policy == policy)
        if below is not None:
            query = query.where(VERSIONS.c.place < below)
        newest = query.order_by(VERSIONS.c.place.desc()).limit(most)
        return [read_version(row) for row in self._connection.execute(newest)]

    def next_number(self, key: PolicyKey) -> int:
        most = sa.select(sa.func.max(VERSIONS.c.number)).where(_of(VERSIONS, key))
        return int(self._connection.execute(most).scalar() or 0) + 1

    def put(self, version: Version) -> None:
        key, body = version.key, version_body(version)
        insert = self._transaction.insert(VERSIONS).values(
            tenant=key.tenant,
            policy=key.policy,
            number=version.number,
            request_id=version.request_id or None,
            body=body,
        )
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["tenant", "policy", "number"], set_={"body": body}
            )
        )

    def rollout(self, key: PolicyKey) -> Rollout | None:
        row = self._connection.execute(sa.select(ROLLOUTS).where(_of(ROLLOUTS, key))).first()
        return read_rollout(row) if row else None

    def set_rollout(self, rollout: Rollout) -> None:
        values = {
            "revision": rollout.revision,
            "has_canary": bool(rollout.canary),
            "body": rollout_body(rollout),
        }
        key = rollout.key
        insert = self._transaction.insert(ROLLOUTS).values(
            tenant=key.tenant, policy=key.policy, **values
        )
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "policy"], set_=values)
        )

    def remove_rollout(self, key: PolicyKey) -> None:
        self._connection.execute(ROLLOUTS.delete().where(_of(ROLLOUTS, key)))

    def served(self) -> dict[PolicyKey, int]:
        query = sa.select(ROLLOUTS.c.tenant, ROLLOUTS.c.policy, ROLLOUTS.c.revision)
        return {
            PolicyKey(row.tenant, row.policy): row.revision
            for row in self._connection.execute(query)
        }

    def with_canary(self) -> list[PolicyKey]:
        query = sa.select(ROLLOUTS.c.tenant, ROLLOUTS.c.policy).where(ROLLOUTS.c.has_canary)
        return [PolicyKey(row.tenant, row.policy) for row in self._connection.execute(query)]

    def tell(self, promotion: Promotion) -> None:
        self._transaction.emit(encode_promotion(promotion))
        key, revision = promotion.rollout.key, promotion.rollout.revision
        # A durable job: MLflow may be unavailable while serving goes on.
        payload = {"tenant": key.tenant, "policy": key.policy}
        enqueue(self._transaction, ALIASES, f"aliases/{key.name}/{revision}", payload)

    def withdraw(self, version: Version) -> None:
        name, tenant = version.served_name, version.key.tenant
        # A version that came back may be withdrawn once more.
        job = f"{WITHDRAWALS}/{name}/{len(version.changes)}"
        payload = {"version": name, "tenant": tenant, "id": version.version}
        enqueue(self._transaction, WITHDRAWALS, job, payload)

    def is_first(self, what: Counted, key: PolicyKey, version: str, user: str) -> bool:
        digest = stable_id(f"rollout-{what}", user)
        insert = self._transaction.insert(ROLLOUT_USERS).values(
            tenant=key.tenant, policy=key.policy, version=version, user_digest=digest
        )
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def forget_users(self, key: PolicyKey) -> None:
        self._connection.execute(ROLLOUT_USERS.delete().where(_of(ROLLOUT_USERS, key)))

    def policy(self, key: PolicyKey) -> Policy | None:
        row = self._connection.execute(sa.select(POLICIES).where(_of(POLICIES, key))).first()
        return read_policy(row) if row else None

    def put_policy(self, policy: Policy) -> None:
        values = {"is_deleted": policy.deleted, "body": policy_body(policy)}
        insert = self._transaction.insert(POLICIES).values(
            tenant=policy.key.tenant, policy=policy.key.policy, **values
        )
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "policy"], set_=values)
        )

    def policies(self, tenant: str, after: PolicyKey | None, most: int) -> list[Policy]:
        name = sa.tuple_(POLICIES.c.tenant, POLICIES.c.policy)
        query = sa.select(POLICIES).where(POLICIES.c.is_deleted.is_(False))
        if tenant:
            query = query.where(POLICIES.c.tenant == tenant)
        if after is not None:
            query = query.where(name > sa.tuple_(after.tenant, after.policy))
        query = query.order_by(POLICIES.c.tenant, POLICIES.c.policy).limit(most)
        return [read_policy(row) for row in self._connection.execute(query)]

    def deleted_policies(self) -> set[PolicyKey]:
        query = sa.select(POLICIES.c.tenant, POLICIES.c.policy).where(POLICIES.c.is_deleted)
        return {PolicyKey(row.tenant, row.policy) for row in self._connection.execute(query)}

    def settle(self, folder: str) -> None:
        rows = self._connection.execute(sa.select(VERSIONS)).all()
        for version in map(read_version, rows):
            path = f"{folder}/{version.served_name}"
            if version.adapter_path not in ("", path):
                self.put(replace(version, adapter_path=path))

    def adopt(self, tenant: str) -> None:
        for table in _OWNED:
            self._connection.execute(
                table.update().where(table.c.tenant == "").values(tenant=tenant)
            )

    def _one(self, condition: sa.ColumnElement[bool]) -> Version | None:
        row = self._connection.execute(sa.select(VERSIONS).where(condition)).first()
        return read_version(row) if row else None


def _of(table: sa.Table, key: PolicyKey) -> sa.ColumnElement[bool]:
    return (table.c.tenant == key.tenant) & (table.c.policy == key.policy)
