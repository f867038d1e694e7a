"""Answers and Results over SQL. SQLite in memory is the twin for unit tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS, SUITE_RESULTS
from shared.language.estimates import Estimate
from shared.state.database import Database


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
        with self._database.begin() as transaction:
            transaction.connection.execute(
                transaction.insert(ANSWERS).on_conflict_do_nothing(), rows
            )


class SqlResults:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of_suites(self, evaluation: str) -> dict[str, tuple[Estimate, ...]]:
        with self._database.read() as connection:
            return suites_of(connection, evaluation)

    def keep_suite(self, evaluation: str, suite: str, estimates: Sequence[Estimate]) -> None:
        rows = [asdict(estimate) for estimate in estimates]
        with self._database.begin() as transaction:
            insert = transaction.insert(SUITE_RESULTS).values(
                evaluation=evaluation, suite=suite, figures=rows
            )
            transaction.connection.execute(insert.on_conflict_do_nothing())

    def keep_reward_model(self, evaluation: str, name: str) -> None:
        with self._database.begin() as transaction:
            transaction.connection.execute(
                EVALUATIONS.update()
                .where(EVALUATIONS.c.evaluation == evaluation)
                .values(reward_model=name)
            )


def suites_of(connection: sa.Connection, evaluation: str) -> dict[str, tuple[Estimate, ...]]:
    query = sa.select(SUITE_RESULTS).where(SUITE_RESULTS.c.evaluation == evaluation)
    return {
        row.suite: tuple(Estimate(**estimate) for estimate in row.figures)
        for row in connection.execute(query)
    }
