"""Evaluations, their figures and kept answers on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.evaluation.adapters.erasing import EvaluationRemover
from services.evaluation.adapters.sql_results import SqlAnswers, SqlResults
from services.evaluation.adapters.sql_session import SqlSession
from services.evaluation.adapters.tables import METADATA
from services.evaluation.app.evaluations import Evaluations
from services.evaluation.domain import Evaluation, Measured, Request, Version
from shared.language.errors import NotFound
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.privacy.erasure import Erasure
from shared.state.database import Database
from shared.state.sessions import SqlStore
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("evaluation", database_url) as kept:
        yield kept


def test_an_answer_that_is_kept_stays(database: Database) -> None:
    answers = SqlAnswers(database)
    answers.keep("e1", "v1", {"a": "first", "b": "other"})
    answers.keep("e1", "v1", {"a": "second", "c": "new"})
    assert answers.known("e1", "v1", ["a", "c", "d"]) == {"a": "first", "c": "new"}
    assert answers.known("e2", "v1", ["a"]) == answers.known("e1", "v2", ["a"]) == {}


def evaluation(name: str, number: int, tenant: str = "local") -> Evaluation:
    time = NOW + timedelta(seconds=number)
    return Evaluation(name, tenant, "assistant-v1", "assistant-v0", (), "", time, done=False)


def request(name: str, served_name: str = "v1") -> Request:
    return Request(name, "local", Version("assistant-v1", served_name))


def test_an_evaluation_is_added_once_and_keeps_its_first_estimates(database: Database) -> None:
    estimate = Estimate("win_rate", 0.6, 0.5, 0.7, 0.95, 24, 10, "win_rate", "wilson")
    example = Example("win_rate", "Why?", {"assistant-v0": "So.", "assistant-v1": "No."})
    results, store = SqlResults(database), SqlStore(database, SqlSession)
    for served_name in ("v1", "another"):
        with store.begin() as session:
            session.add(evaluation("e1", 0), request("e1", served_name))
    for measured in (
        Measured((estimate,), "rewardModels/reward-v1", (example,)),
        Measured((), "rewardModels/reward-v2"),
    ):
        results.keep_suite("e1", "win_rate", measured)
    with store.read() as session:
        assert session.request("e1") == request("e1")
    with store.begin() as session:
        session.set_run("e1", "mlflow-1")
        session.finish("e1", NOW)
    with store.read() as session:
        finished = session.evaluation("e1")
    assert (finished.done, finished.estimates, finished.mlflow_run_id, finished.reward_model) == (
        True,
        (estimate,),
        "mlflow-1",
        "rewardModels/reward-v1",
    )
    assert finished.examples == (example,)
    app = Evaluations(store, lambda: NOW)
    assert app.get("local", "e1") == finished
    assert app.page("local", None, 5) == [replace(finished, examples=())]
    for tenant, name in (("acme", "e1"), ("local", "e2")):
        with pytest.raises(NotFound):
            app.get(tenant, name)


def test_evaluations_come_newest_first_in_pages(database: Database) -> None:
    store = SqlStore(database, SqlSession)
    with store.begin() as session:
        for name, number in (("a", 0), ("b", 1), ("c", 1), ("d", 2)):
            session.add(evaluation(name, number), request(name))
        session.add(evaluation("z", 9, "acme"), request("z"))
    with store.read() as session:
        first = session.page("local", None, 2)
        assert [one.evaluation for one in first] == ["d", "c"]
        last = (first[-1].create_time.timestamp(), first[-1].evaluation)
        rest = session.page("local", last, 2)
        assert [one.evaluation for one in rest] == ["b", "a"]


def test_nothing_on_a_live_path_reads_a_whole_table(database: Database) -> None:
    store, answers = SqlStore(database, SqlSession), SqlAnswers(database)
    app = Evaluations(store, lambda: NOW)
    with recorded(database) as said:
        app.start(request("e1"))
        with store.read() as session:
            session.request("e1")
        answers.keep("e1", "v1", {"a": "first"})
        answers.known("e1", "v1", ["a", "b"])
        SqlResults(database).keep_suite("e1", "win_rate", Measured((), "rewardModels/reward-v1"))
        SqlResults(database).of_suites("e1")
        EvaluationRemover(database).survey(Erasure("r", "local", "ann"))
        with database.begin() as transaction:
            EvaluationRemover(database).remove_rows(Erasure("r", "local", "ann"), transaction)
        with store.begin() as session:
            session.show("e1", "form", 0.5)
            session.finish("e1", NOW)
        app.get("local", "e1")
        app.page("local", None, 5)
        app.page("local", (NOW.timestamp(), "e1"), 5)
    assert len(said) > 15
    assert whole_tables(database, said, METADATA) == []
