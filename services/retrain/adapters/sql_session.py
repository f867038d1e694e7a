"""Retrain's state within one transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.retrain.adapters.tables import GATE_ATTEMPTS, PAIRS, PERSONAS, PRAISED, RUNS
from services.retrain.codec import encode_completed, encode_run
from services.retrain.domain.queue import Served
from services.retrain.domain.runs import ENDED, Run, State
from services.retrain.domain.snapshots import Persona
from shared.contracts.pairs import decode_pair, encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.batches import batches
from shared.language.errors import Cancelled, Internal
from shared.language.pairs import Pair
from shared.language.policies import ASSISTANT, PolicyKey
from shared.state import operations
from shared.state.database import Transaction

_RUN = TypeAdapter(Run)
_RUNS = sa.select(RUNS.c.tenant, RUNS.c.body)


class SqlSession:
    """The Session port within one transaction. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def run(self, run: str) -> Run | None:
        return self._one(_RUNS.where(RUNS.c.run == run))

    def by_request(self, key: PolicyKey, request_id: str) -> Run | None:
        return self._one(_RUNS.where(_of(RUNS, key), RUNS.c.request_id == request_id))

    def runs(
        self, tenant: str, below: int | None, most: int, policy: str = "", under_way: bool = False
    ) -> list[Run]:
        query = _RUNS.where(RUNS.c.tenant == tenant).order_by(RUNS.c.number.desc()).limit(most)
        if policy:
            query = query.where(RUNS.c.policy == policy)
        if under_way:
            query = query.where(RUNS.c.has_ended.is_(False))
        if below is not None:
            query = query.where(RUNS.c.number < below)
        return self._runs(query)

    def ended(self, most: int) -> list[Run]:
        query = _RUNS.where(RUNS.c.has_ended.is_(True)).order_by(RUNS.c.number.desc())
        return self._runs(query.limit(most))

    def newest(self, key: PolicyKey) -> str:
        query = sa.select(RUNS.c.run).where(_of(RUNS, key)).order_by(RUNS.c.number.desc())
        return str(self._connection.execute(query.limit(1)).scalar() or "")

    def under_way(self, key: PolicyKey | None = None) -> list[Run]:
        query = _RUNS.where(RUNS.c.has_ended.is_(False)).order_by(RUNS.c.number)
        return self._runs(query if key is None else query.where(_of(RUNS, key)))

    def served(self, keys: Collection[PolicyKey]) -> Served:
        tenants = {key.tenant: self._last(RUNS.c.tenant == key.tenant) for key in keys}
        policies = {key: self._last(_of(RUNS, key)) for key in keys}
        return Served(
            {tenant: when for tenant, when in tenants.items() if when},
            {key: when for key, when in policies.items() if when},
        )

    def _last(self, of: sa.ColumnElement[bool]) -> datetime | None:
        """When the last of these runs left the queue."""
        found = self._connection.execute(sa.select(sa.func.max(RUNS.c.begun)).where(of)).scalar()
        return datetime.fromtimestamp(found, UTC) if found else None

    def next_number(self) -> int:
        most = self._connection.execute(sa.select(sa.func.max(RUNS.c.number))).scalar()
        return int(most or 0) + 1

    def put(self, run: Run) -> None:
        former = self.run(run.run)
        values = {
            "number": run.number,
            "tenant": run.tenant,
            "policy": run.policy,
            "request_id": run.request_id or None,
            "has_ended": run.has_ended,
            "begun": run.begun.timestamp() if run.begun else None,
            "snapshot_digest": run.snapshot.digest if run.snapshot else "",
            "pairs_seen": run.pairs_seen,
            "body": _RUN.dump_json(run).decode(),
        }
        insert = self._transaction.insert(RUNS).values(run=run.run, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["run"], set_=values))
        self._mirror(run)
        if run.has_ended and (former is None or former.state not in ENDED):
            self._transaction.emit(encode_completed(run))

    def attempt(self, tenant: str, champion: str, run: str) -> int:
        of_run = sa.select(GATE_ATTEMPTS.c.attempt).where(GATE_ATTEMPTS.c.run == run)
        if found := self._connection.execute(of_run).scalar():
            return int(found)
        of_champion = (GATE_ATTEMPTS.c.tenant == tenant) & (
            GATE_ATTEMPTS.c.champion_version == champion
        )
        most = sa.select(sa.func.max(GATE_ATTEMPTS.c.attempt)).where(of_champion)
        attempt = int(self._connection.execute(most).scalar() or 0) + 1
        self._connection.execute(
            GATE_ATTEMPTS.insert().values(
                tenant=tenant, champion_version=champion, attempt=attempt, run=run
            )
        )
        return attempt

    def runs_of(self, digests: Collection[str]) -> list[Run]:
        found: list[Run] = []
        for some in batches(sorted(digests)):
            found += self._runs(_RUNS.where(RUNS.c.snapshot_digest.in_(some)))
        return sorted(found, key=lambda run: run.number)

    def add_pair(self, pair: Pair) -> bool:
        insert = self._transaction.insert(PAIRS).values(
            tenant=pair.tenant,
            policy=pair.policy or ASSISTANT,
            pair_id=pair.pair_id,
            user_id=pair.user_id,
            conversation_id=pair.conversation_id,
            is_held_out=pair.is_held_out,
            create_time=pair.time.timestamp(),
            body=encode_pair(pair).SerializeToString(),
        )
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def pairs(self, key: PolicyKey, most: int) -> list[Pair]:
        newest = (PAIRS.c.create_time.desc(), PAIRS.c.pair_id.desc())
        query = sa.select(PAIRS.c.body).where(_of(PAIRS, key)).order_by(*newest).limit(most)
        return [_pair(row.body) for row in self._connection.execute(query)]

    def add_praised(self, praised: Pair) -> bool:
        insert = self._transaction.insert(PRAISED).values(
            tenant=praised.tenant,
            feedback_id=praised.pair_id,
            policy=praised.policy or ASSISTANT,
            user_id=praised.user_id,
            conversation_id=praised.conversation_id,
            create_time=praised.time.timestamp(),
            body=encode_pair(praised).SerializeToString(),
        )
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def drop_praised(self, tenant: str, feedback_ids: Collection[str]) -> None:
        for some in batches(sorted(feedback_ids)):
            theirs = (PRAISED.c.tenant == tenant) & PRAISED.c.feedback_id.in_(some)
            self._connection.execute(PRAISED.delete().where(theirs))

    def praised(self, key: PolicyKey, most: int) -> list[Pair]:
        newest = (PRAISED.c.create_time.desc(), PRAISED.c.feedback_id.desc())
        query = sa.select(PRAISED.c.body).where(_of(PRAISED, key)).order_by(*newest).limit(most)
        return [_pair(row.body) for row in self._connection.execute(query)]

    def praised_of(self, tenant: str, conversation_id: str) -> list[Pair]:
        theirs = (PRAISED.c.tenant == tenant) & (PRAISED.c.conversation_id == conversation_id)
        oldest = (PRAISED.c.create_time, PRAISED.c.feedback_id)
        query = sa.select(PRAISED.c.body).where(theirs).order_by(*oldest)
        return [_pair(row.body) for row in self._connection.execute(query)]

    def pairs_of(self, tenant: str, conversation_id: str) -> list[Pair]:
        theirs = (PAIRS.c.tenant == tenant) & (PAIRS.c.conversation_id == conversation_id)
        query = sa.select(PAIRS.c.body).where(theirs).order_by(PAIRS.c.place)
        return [_pair(row.body) for row in self._connection.execute(query)]

    def tenants(self) -> list[str]:
        """A few steps in an index for each, however many pairs it has."""
        first = sa.select(sa.func.min(PAIRS.c.tenant).label("tenant"))
        lane = first.cte("lanes", recursive=True)
        after = sa.select(sa.func.min(PAIRS.c.tenant)).where(PAIRS.c.tenant > lane.c.tenant)
        lane = lane.union_all(sa.select(after.scalar_subquery()).where(lane.c.tenant.is_not(None)))
        query = sa.select(lane.c.tenant).where(lane.c.tenant.is_not(None))
        return list(self._connection.execute(query).scalars())

    def newest_pair(self, key: PolicyKey) -> int:
        newest = 0
        for part in (False, True):
            theirs = _of(PAIRS, key) & PAIRS.c.is_held_out.is_(part)
            place = self._connection.execute(sa.select(sa.func.max(PAIRS.c.place)).where(theirs))
            newest = max(newest, int(place.scalar() or 0))
        return newest

    def pairs_seen(self, key: PolicyKey) -> int:
        query = sa.select(sa.func.max(RUNS.c.pairs_seen)).where(_of(RUNS, key))
        return int(self._connection.execute(query).scalar() or 0)

    def train_pairs_after(self, key: PolicyKey, place: int, most: int) -> int:
        after = _of(PAIRS, key) & PAIRS.c.is_held_out.is_(False) & (PAIRS.c.place > place)
        some = sa.select(PAIRS.c.place).where(after).limit(most).subquery()
        query = sa.select(sa.func.count()).select_from(some)
        return int(self._connection.execute(query).scalar_one())

    def set_persona(self, persona: Persona) -> None:
        values = {
            "text": persona.text,
            "version": persona.version,
            "update_time": persona.time.timestamp(),
        }
        insert = self._transaction.insert(PERSONAS).values(
            user=persona.user, tenant=persona.tenant, **values
        )
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["user"],
                set_=values,
                where=PERSONAS.c.version <= persona.version,
            )
        )

    def personas(self, users: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in batches(sorted(users)):
            query = sa.select(PERSONAS.c.user, PERSONAS.c.text).where(PERSONAS.c.user.in_(some))
            found |= {row.user: row.text for row in self._connection.execute(query)}
        return found

    def _one(self, query: sa.Select[Any]) -> Run | None:
        return next(iter(self._runs(query.limit(1))), None)

    def _runs(self, query: sa.Select[Any]) -> list[Run]:
        """The tenant's column counts: what the body of an adopted run says is empty."""
        return [
            replace(_RUN.validate_json(row.body), tenant=row.tenant)
            for row in self._connection.execute(query)
        ]

    def _mirror(self, run: Run) -> None:
        """Copies the run into its operation."""
        name, encoded = operation_name(run), encode_run(run)
        metadata = pb.RunMetadata(run=encoded)
        if not operations.begin(self._transaction, name, metadata, tenant=run.tenant):
            operations.progress(self._transaction, name, metadata)
        match run.state:
            case State.SUCCEEDED | State.REJECTED:
                response = pb.StartRetrainResponse(run=encoded)
                operations.succeed(self._transaction, name, response)
            case State.FAILED:
                operations.fail(self._transaction, name, Internal(run.error, reason="RUN_FAILED"))
            case State.CANCELLED:
                operations.fail(self._transaction, name, Cancelled(f"{run.run} was cancelled"))


def _of(table: sa.Table, key: PolicyKey) -> sa.ColumnElement[bool]:
    return (table.c.tenant == key.tenant) & (table.c.policy == key.policy)


def _pair(body: bytes) -> Pair:
    return decode_pair(events_pb2.PreferencePair.FromString(body))


def operation_name(run: Run) -> str:
    return f"operations/{run.run}"
