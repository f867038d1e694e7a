"""Retrain's state within one transaction."""

from __future__ import annotations

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.retrain.adapters.tables import PAIRS, PERSONAS, RUNS
from services.retrain.codec import encode_completed, encode_run
from services.retrain.domain.runs import ENDED, Run, State
from shared.contracts.pairs import decode_pair, encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import Cancelled, Internal
from shared.language.pairs import Pair
from shared.state import operations
from shared.state.database import Transaction

_RUN = TypeAdapter(Run)


class SqlSession:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def run(self, run: str) -> Run | None:
        return self._one(sa.select(RUNS.c.body).where(RUNS.c.run == run))

    def by_request(self, request_id: str) -> Run | None:
        return self._one(sa.select(RUNS.c.body).where(RUNS.c.request_id == request_id))

    def runs(self, below: int | None, most: int) -> list[Run]:
        query = sa.select(RUNS.c.body).order_by(RUNS.c.number.desc()).limit(most)
        if below is not None:
            query = query.where(RUNS.c.number < below)
        return [_RUN.validate_json(row.body) for row in self._connection.execute(query)]

    def under_way(self) -> Run | None:
        query = sa.select(RUNS.c.body).where(RUNS.c.has_ended.is_(False))
        return self._one(query.order_by(RUNS.c.number).limit(1))

    def next_number(self) -> int:
        most = self._connection.execute(sa.select(sa.func.max(RUNS.c.number))).scalar()
        return int(most or 0) + 1

    def put(self, run: Run) -> None:
        former = self.run(run.run)
        values = {
            "number": run.number,
            "request_id": run.request_id or None,
            "has_ended": run.has_ended,
            "body": _RUN.dump_json(run).decode(),
        }
        insert = self._transaction.insert(RUNS).values(run=run.run, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["run"], set_=values))
        self._mirror(run)
        if run.has_ended and (former is None or former.state not in ENDED):
            self._transaction.emit(encode_completed(run))

    def add_pair(self, pair: Pair) -> bool:
        insert = self._transaction.insert(PAIRS).values(
            tenant=pair.tenant,
            pair_id=pair.pair_id,
            user_id=pair.user_id,
            is_held_out=pair.is_held_out,
            body=encode_pair(pair).SerializeToString(),
        )
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def pairs(self) -> tuple[list[Pair], int]:
        query = sa.select(PAIRS.c.place, PAIRS.c.body).order_by(PAIRS.c.place)
        rows = self._connection.execute(query).all()
        pairs = [decode_pair(events_pb2.PreferencePair.FromString(row.body)) for row in rows]
        return pairs, rows[-1].place if rows else 0

    def train_pairs_after(self, place: int) -> int:
        query = sa.select(sa.func.count()).select_from(PAIRS)
        condition = (PAIRS.c.place > place) & PAIRS.c.is_held_out.is_(False)
        return int(self._connection.execute(query.where(condition)).scalar_one())

    def set_persona(self, user: str, text: str, version: int) -> None:
        values = {"text": text, "version": version}
        insert = self._transaction.insert(PERSONAS).values(user=user, **values)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["user"], set_=values, where=PERSONAS.c.version <= version
            )
        )

    def personas(self) -> dict[str, str]:
        return {row.user: row.text for row in self._connection.execute(sa.select(PERSONAS))}

    def _one(self, query: sa.Select[tuple[str]]) -> Run | None:
        row = self._connection.execute(query).first()
        return _RUN.validate_json(row.body) if row else None

    def _mirror(self, run: Run) -> None:
        """The run's operation says what the run says."""
        name, encoded = operation_name(run), encode_run(run)
        metadata = pb.RunMetadata(run=encoded)
        if not operations.begin(self._transaction, name, metadata):
            operations.progress(self._transaction, name, metadata)
        match run.state:
            case State.SUCCEEDED | State.REJECTED:
                response = pb.StartRetrainResponse(run=encoded)
                operations.succeed(self._transaction, name, response)
            case State.FAILED:
                operations.fail(self._transaction, name, Internal(run.error, reason="RUN_FAILED"))
            case State.CANCELLED:
                operations.fail(self._transaction, name, Cancelled(f"{run.run} was cancelled"))


def operation_name(run: Run) -> str:
    return f"operations/{run.run}"
