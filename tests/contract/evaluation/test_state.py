"""Evaluations, their figures and kept answers on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from services.evaluation.adapters.sql_store import (
    SqlAnswers,
    SqlEvaluations,
    SqlResults,
    add_evaluation,
    finish_evaluation,
    set_run,
)
from services.evaluation.domain import Evaluation, Figure
from shared.language.errors import NotFound
from shared.state.database import Database
from tests.contract.state import opened

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("evaluation", database_url) as kept:
        yield kept


def test_an_answer_that_is_kept_stays(database: Database) -> None:
    answers = SqlAnswers(database)
    answers.keep("local", "v1", {"a": "first", "b": "other"})
    answers.keep("local", "v1", {"a": "second", "c": "new"})
    assert answers.known("local", "v1", ["a", "c", "d"]) == {"a": "first", "c": "new"}
    assert answers.known("acme", "v1", ["a"]) == answers.known("local", "v2", ["a"]) == {}


def evaluation(name: str, number: int, tenant: str = "local") -> Evaluation:
    time = NOW + timedelta(seconds=number)
    return Evaluation(name, tenant, "assistant-v1", "assistant-v0", (), "", time, done=False)


def test_an_evaluation_is_added_once_and_keeps_its_first_figures(database: Database) -> None:
    figure = Figure("win_rate", 0.6, 0.5, 0.7, 24, 10, "win_rate", "wilson")
    results, evaluations = SqlResults(database), SqlEvaluations(database)
    for request in (b"asked", b"asked again"):
        with database.begin() as transaction:
            add_evaluation(transaction, evaluation("e1", 0), request)
    results.keep_suite("e1", "win_rate", [figure])
    results.keep_suite("e1", "win_rate", [])
    results.keep_reward_model("e1", "rewardModels/reward-v1")
    with database.begin() as transaction:
        set_run(transaction, "e1", "mlflow-1")
        finished = finish_evaluation(transaction, "e1")
    assert evaluations.request("e1") == ("local", b"asked")
    assert (finished.done, finished.figures, finished.mlflow_run_id) == (
        True,
        (figure,),
        "mlflow-1",
    )
    assert evaluations.get("local", "e1") == finished
    with pytest.raises(NotFound):
        evaluations.get("acme", "e1")


def test_evaluations_come_newest_first_in_pages(database: Database) -> None:
    with database.begin() as transaction:
        for name, number in (("a", 0), ("b", 1), ("c", 1), ("d", 2)):
            add_evaluation(transaction, evaluation(name, number), b"")
        add_evaluation(transaction, evaluation("z", 9, "acme"), b"")
    first = SqlEvaluations(database).page("local", None, 2)
    assert [one.evaluation for one in first] == ["d", "c"]
    last = (first[-1].create_time.timestamp(), first[-1].evaluation)
    rest = SqlEvaluations(database).page("local", last, 2)
    assert [one.evaluation for one in rest] == ["b", "a"]
