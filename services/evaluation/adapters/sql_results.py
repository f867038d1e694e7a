"""Answers and Results over SQL. SQLite in memory is the twin for unit tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS, SUITE_RESULTS
from services.evaluation.domain import Measured
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.state.database import Database


class SqlAnswers:
    """The Answers port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, evaluation: str, version: str, keys: Sequence[str]) -> dict[str, str]:
        of_version = (ANSWERS.c.evaluation == evaluation) & (ANSWERS.c.version == version)
        query = sa.select(ANSWERS.c.prompt_key, ANSWERS.c.text).where(
            of_version & ANSWERS.c.prompt_key.in_(keys)
        )
        with self._database.read() as connection:
            return {row.prompt_key: row.text for row in connection.execute(query)}

    def keep(self, evaluation: str, version: str, answers: Mapping[str, str]) -> None:
        rows = [
            {"evaluation": evaluation, "version": version, "prompt_key": key, "text": text}
            for key, text in answers.items()
        ]
        with self._database.begin() as transaction:
            transaction.connection.execute(
                transaction.insert(ANSWERS).on_conflict_do_nothing(), rows
            )


class SqlResults:
    """The Results port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_suites(self, evaluation: str) -> dict[str, tuple[Estimate, ...]]:
        with self._database.read() as connection:
            return suites_of(connection, evaluation)

    def keep_suite(self, evaluation: str, suite: str, measured: Measured) -> None:
        rows = [asdict(estimate) for estimate in measured.estimates]
        with self._database.begin() as transaction:
            insert = transaction.insert(SUITE_RESULTS).values(
                evaluation=evaluation,
                suite=suite,
                figures=rows,
                examples=[asdict(example) for example in measured.examples],
            )
            kept = transaction.connection.execute(insert.on_conflict_do_nothing()).rowcount
            if kept and measured.reward_model:
                of_evaluation = EVALUATIONS.c.evaluation == evaluation
                judge = EVALUATIONS.update().where(of_evaluation)
                transaction.connection.execute(judge.values(reward_model=measured.reward_model))


def suites_of(connection: sa.Connection, evaluation: str) -> dict[str, tuple[Estimate, ...]]:
    query = sa.select(SUITE_RESULTS).where(SUITE_RESULTS.c.evaluation == evaluation)
    return {
        row.suite: tuple(Estimate(**estimate) for estimate in row.figures)
        for row in connection.execute(query)
    }


def examples_by_suite(connection: sa.Connection, evaluation: str) -> dict[str, tuple[Example, ...]]:
    query = sa.select(SUITE_RESULTS).where(SUITE_RESULTS.c.evaluation == evaluation)
    return {
        row.suite: tuple(Example(**example) for example in row.examples or ())
        for row in connection.execute(query)
    }
