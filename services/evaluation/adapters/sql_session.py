"""The evaluations within one transaction, with their operations and jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.evaluation import codec
from services.evaluation.adapters.sql_results import examples_by_suite, suites_of
from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS
from services.evaluation.domain import Evaluation, Request
from services.evaluation.ports import EVALUATE_JOB, TRACK_JOB
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.errors import NotFound, TrimtabError
from shared.language.suites import SUITES
from shared.state import operations
from shared.state.database import Transaction
from shared.state.jobs import enqueue

STAGE = "evaluation"


class SqlSession:
    """The Session port within one transaction, which the caller commits. Every method raises Unavailable
    while the database is unavailable."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction, self._connection = transaction, transaction.connection

    def add(self, evaluation: Evaluation, request: Request) -> None:
        queued = pb.EvaluateMetadata(evaluation=evaluation.name, step="queued")
        name = evaluation.evaluation
        known = operation_name(name)
        if not operations.begin(self._transaction, known, queued, tenant=evaluation.tenant):
            return
        insert = self._transaction.insert(EVALUATIONS).values(
            evaluation=name,
            tenant=evaluation.tenant,
            model_version=evaluation.model_version,
            champion_version=evaluation.champion_version,
            request=codec.encode_request(request).SerializeToString(),
            create_time=evaluation.create_time.timestamp(),
            reward_model="",
            mlflow_run_id="",
            done=False,
        )
        self._connection.execute(insert.on_conflict_do_nothing())
        enqueue(self._transaction, EVALUATE_JOB, job_id(name), {"evaluation": name})
        self._transaction.count(STAGE, "taken")
        self._transaction.count(STAGE, "waiting", "UNDER_WAY")

    def request(self, evaluation: str) -> Request:
        row = self._row(evaluation)
        asked = pb.EvaluateRequest.FromString(row.request)
        return codec.decode_request(evaluation, row.tenant, asked)

    def evaluation(self, evaluation: str) -> Evaluation:
        by_suite = examples_by_suite(self._connection, evaluation)
        examples = tuple(one for suite in SUITES for one in by_suite.get(suite, ()))
        return replace(self._evaluation(self._row(evaluation)), examples=examples)

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        place = sa.tuple_(EVALUATIONS.c.create_time, EVALUATIONS.c.evaluation)
        query = sa.select(EVALUATIONS).where(EVALUATIONS.c.tenant == tenant)
        if before is not None:
            query = query.where(place < sa.tuple_(*map(sa.literal, before)))
        query = query.order_by(
            EVALUATIONS.c.create_time.desc(), EVALUATIONS.c.evaluation.desc()
        ).limit(size)
        return [self._evaluation(row) for row in self._connection.execute(query).all()]

    def show(self, evaluation: str, step: str, share: float) -> None:
        metadata = pb.EvaluateMetadata(
            evaluation=f"evaluations/{evaluation}", step=step, progress=share
        )
        operations.progress(self._transaction, operation_name(evaluation), metadata)

    def finish(self, evaluation: str, now: datetime) -> None:
        self._end(evaluation)
        done = self.evaluation(evaluation)
        response = pb.EvaluateResponse(evaluation=codec.encode_evaluation(done))
        operations.succeed(self._transaction, operation_name(evaluation), response)
        self._transaction.emit(codec.completed_event(done, now))
        self._transaction.count(STAGE, "waiting", "UNDER_WAY", -1)
        self._transaction.count(STAGE, "made", "evaluated")
        tracking = {"evaluation": evaluation}
        enqueue(self._transaction, TRACK_JOB, f"{TRACK_JOB}:{evaluation}", tracking)

    def fail(self, evaluation: str, error: TrimtabError) -> None:
        self._end(evaluation)
        operations.fail(self._transaction, operation_name(evaluation), error)
        self._transaction.count(STAGE, "waiting", "UNDER_WAY", -1)
        self._transaction.count(STAGE, "dropped", error.reason)

    def set_run(self, evaluation: str, run_id: str) -> None:
        self._change(evaluation, mlflow_run_id=run_id)

    def _end(self, evaluation: str) -> None:
        """Deletes everybody's words: only figures are needed from now on."""
        self._change(evaluation, done=True, request=b"")
        self._connection.execute(ANSWERS.delete().where(ANSWERS.c.evaluation == evaluation))

    def _change(self, evaluation: str, **changes: Any) -> None:
        of_evaluation = EVALUATIONS.c.evaluation == evaluation
        self._connection.execute(EVALUATIONS.update().where(of_evaluation).values(changes))

    def _row(self, evaluation: str) -> Any:
        query = sa.select(EVALUATIONS).where(EVALUATIONS.c.evaluation == evaluation)
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFound(f"there is no evaluation {evaluation!r}", field="name")
        return row

    def _evaluation(self, row: Any) -> Evaluation:
        by_suite = suites_of(self._connection, row.evaluation)
        return Evaluation(
            evaluation=row.evaluation,
            tenant=row.tenant,
            model_version=row.model_version,
            champion_version=row.champion_version,
            estimates=tuple(one for suite in SUITES for one in by_suite.get(suite, ())),
            reward_model=row.reward_model,
            create_time=datetime.fromtimestamp(row.create_time, UTC),
            done=row.done,
            mlflow_run_id=row.mlflow_run_id,
        )


def operation_name(evaluation: str) -> str:
    return f"operations/evaluate-{evaluation}"


def job_id(evaluation: str) -> str:
    return f"{EVALUATE_JOB}:{evaluation}"
