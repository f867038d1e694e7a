"""Answers, Results and the list of evaluations over SQL. SQLite in memory is the twin for unit
tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS, SUITE_RESULTS
from services.evaluation.domain import SUITES, Evaluation, Figure
from shared.language.errors import NotFound
from shared.state.database import Database, Transaction


class SqlAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, tenant: str, version: str, keys: Sequence[str]) -> dict[str, str]:
        of_version = (ANSWERS.c.tenant == tenant) & (ANSWERS.c.version == version)
        query = sa.select(ANSWERS.c.prompt_key, ANSWERS.c.text).where(
            of_version & ANSWERS.c.prompt_key.in_(keys)
        )
        with self._database.read() as connection:
            return {row.prompt_key: row.text for row in connection.execute(query)}

    def keep(self, tenant: str, version: str, answers: Mapping[str, str]) -> None:
        rows = [
            {"tenant": tenant, "version": version, "prompt_key": key, "text": text}
            for key, text in answers.items()
        ]
        with self._database.begin() as tx:
            tx.connection.execute(tx.insert(ANSWERS).on_conflict_do_nothing(), rows)


class SqlResults:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of_suites(self, evaluation: str) -> dict[str, tuple[Figure, ...]]:
        with self._database.read() as connection:
            return _suites(connection, evaluation)

    def keep_suite(self, evaluation: str, suite: str, figures: Sequence[Figure]) -> None:
        rows = [asdict(figure) for figure in figures]
        with self._database.begin() as tx:
            insert = tx.insert(SUITE_RESULTS).values(
                evaluation=evaluation, suite=suite, figures=rows
            )
            tx.connection.execute(insert.on_conflict_do_nothing())

    def keep_reward_model(self, evaluation: str, name: str) -> None:
        with self._database.begin() as tx:
            _change(tx, evaluation, reward_model=name)


class SqlEvaluations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, evaluation: str) -> tuple[str, bytes]:
        """Tenant and the request as it came. Raises NotFound."""
        with self._database.read() as connection:
            row = _row(connection, evaluation)
            return row.tenant, row.request

    def get(self, tenant: str, evaluation: str) -> Evaluation:
        """Raises NotFound, also for another tenant's."""
        with self._database.read() as connection:
            row = _row(connection, evaluation)
            if row.tenant != tenant:
                raise NotFound(f"there is no evaluation {evaluation!r}", field="name")
            return _evaluation(connection, row)

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        """Newest first; `before` is the last one's (create time, id)."""
        place = sa.tuple_(EVALUATIONS.c.create_time, EVALUATIONS.c.evaluation)
        query = sa.select(EVALUATIONS).where(EVALUATIONS.c.tenant == tenant)
        if before is not None:
            query = query.where(place < sa.tuple_(*map(sa.literal, before)))
        query = query.order_by(
            EVALUATIONS.c.create_time.desc(), EVALUATIONS.c.evaluation.desc()
        ).limit(size)
        with self._database.read() as connection:
            return [_evaluation(connection, row) for row in connection.execute(query)]


def add_evaluation(tx: Transaction, evaluation: Evaluation, request: bytes) -> None:
    insert = tx.insert(EVALUATIONS).values(
        evaluation=evaluation.evaluation,
        tenant=evaluation.tenant,
        model_version=evaluation.model_version,
        champion_version=evaluation.champion_version,
        request=request,
        create_time=evaluation.create_time.timestamp(),
        reward_model="",
        mlflow_run_id="",
        done=False,
    )
    tx.connection.execute(insert.on_conflict_do_nothing())


def finish_evaluation(tx: Transaction, evaluation: str) -> Evaluation:
    _change(tx, evaluation, done=True)
    return _evaluation(tx.connection, _row(tx.connection, evaluation))


def set_run(tx: Transaction, evaluation: str, run_id: str) -> None:
    _change(tx, evaluation, mlflow_run_id=run_id)


def _change(tx: Transaction, evaluation: str, **changes: Any) -> None:
    tx.connection.execute(
        EVALUATIONS.update().where(EVALUATIONS.c.evaluation == evaluation).values(changes)
    )


def _row(connection: sa.Connection, evaluation: str) -> Any:
    query = sa.select(EVALUATIONS).where(EVALUATIONS.c.evaluation == evaluation)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no evaluation {evaluation!r}", field="name")
    return row


def _suites(connection: sa.Connection, evaluation: str) -> dict[str, tuple[Figure, ...]]:
    query = sa.select(SUITE_RESULTS).where(SUITE_RESULTS.c.evaluation == evaluation)
    return {
        row.suite: tuple(Figure(**figure) for figure in row.figures)
        for row in connection.execute(query)
    }


def _evaluation(connection: sa.Connection, row: Any) -> Evaluation:
    by_suite = _suites(connection, row.evaluation)
    return Evaluation(
        evaluation=row.evaluation,
        tenant=row.tenant,
        model_version=row.model_version,
        champion_version=row.champion_version,
        figures=tuple(figure for suite in SUITES for figure in by_suite.get(suite, ())),
        reward_model=row.reward_model,
        create_time=datetime.fromtimestamp(row.create_time, UTC),
        done=row.done,
        mlflow_run_id=row.mlflow_run_id,
    )
