"""Tenants' own heads through kills, an absent tracker, upgrades and erasures."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from services.feedback.adapters.erasing import FeedbackRemover
from services.feedback.heads.adapters.sql_heads import SqlHeadReads, packed
from services.feedback.heads.app.refit import FIT_JOB, STAGE
from services.feedback.heads.domain import Correction, HeadState
from services.feedback.mining.app.classifier import Exchange
from services.feedback.tables import HEADS, METADATA
from shared.language.splits import is_held_out
from shared.privacy.erasure import Erasure
from shared.state.database import Database
from shared.state.jobs import Finish, Job
from shared.state.tables import JOBS
from tests.integration.feedback.test_kill import killed_before_commit, restarted
from tests.unit.feedback import raters
from tests.unit.feedback.house import House, turn, turn_event
from tests.unit.feedback.raters import BAD, MODEL, TALKS, V1


@pytest.fixture
def turned() -> House:
    return raters.turned_house()


def test_a_kill_while_it_fits_loses_and_doubles_nothing(turned: House, tmp_path: Path) -> None:
    house = raters.turned_house(Database(f"sqlite:///{tmp_path}/state.db", METADATA))
    raters.look(house)
    # The first transaction claims the job, the second would finish it.
    killed_before_commit(house, raters.fits(house).run_once, after=1)
    assert house.parts.heads.page("local", None, 10) == ([], 0)
    restarted(house)
    raters.judge_for_real(house)
    assert raters.fits(house).run_once()
    assert not raters.fits(house).run_once()
    killed_before_commit(house, raters.tracks(house).run_once, after=1)
    restarted(house)
    assert raters.tracks(house).run_once()
    raters.refit(turned)
    (card,), _ = house.parts.heads.page("local", None, 10)
    (same,), _ = turned.parts.heads.page("local", None, 10)
    assert card.figures == same.figures
    assert (card.mlflow_version, len(house.tracker.runs[MODEL])) == ("1", 1)
    assert house.counts(STAGE) == turned.counts(STAGE)


def test_a_tracker_that_is_away_holds_up_no_head(turned: House) -> None:
    turned.tracker.away = True
    raters.look(turned)
    assert raters.fits(turned).run_once()
    assert raters.tracks(turned).run_once()
    assert turned.tracker.runs == {}
    assert turned.parts.classifier.head_of("local") == V1
    (card,), _ = turned.parts.heads.page("local", None, 10)
    assert (card.mlflow_run_id, card.mlflow_version) == ("", "")
    turned.tracker.away = False
    with turned.database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))
    assert raters.tracks(turned).run_once()
    (card,), _ = turned.parts.heads.page("local", None, 10)
    assert (card.mlflow_run_id, card.mlflow_version) == ("run-dissatisfaction-local-1", "1")
    assert turned.tracker.serving == {MODEL: "1"}
    (run,) = turned.tracker.runs[MODEL]
    assert run.metrics["log_loss_gain_low"] == card.figures.log_loss_gain.low
    assert run.metrics["held_out_users"] == card.figures.users
    assert json.loads(run.artifacts["card.json"])["name"] == V1


def test_no_text_of_anybody_is_in_a_head(turned: House) -> None:
    raters.refit(turned)
    _, weights = turned.parts.heads.load("local", 1)
    assert turned.tracker.runs[MODEL][0].artifacts["head.npz"] == weights
    with np.load(io.BytesIO(weights), allow_pickle=False) as kept:
        kinds = {name: kept[name].dtype.kind for name in kept.files}
    assert kinds.pop("shipped") == "U"
    assert set(kinds.values()) <= {"f", "i"}


def test_another_shipped_head_takes_over_until_the_next_fit(turned: House) -> None:
    raters.refit(turned)
    parts = turned.parts
    upgraded = SqlHeadReads(
        turned.database, "shipped-of-tomorrow", parts.classifier.dissatisfaction
    )
    assert upgraded.serving(["local"]) == {}
    assert replace(parts.head_schedule, heads=upgraded).once() == 0
    (card,), _ = upgraded.page("local", None, 10)
    assert (card.state, card.reason) == (HeadState.FORMER, "OTHER_SHIPPED_HEAD")
    while raters.tracks(turned).run_once():
        continue
    assert turned.tracker.serving == {MODEL: ""}
    stand = upgraded.stand("local")
    assert (stand.name, stand.attempts, stand.seen) == ("shipped-of-tomorrow", 0, 0)


def test_a_users_report_names_the_heads_that_learnt_from_them(turned: House) -> None:
    fitted, held_out = (
        next(f"u{n}" for n in range(40) if is_held_out("local", f"u{n}") is wanted)
        for wanted in (False, True)
    )
    remover = FeedbackRemover(turned.database)
    assert remover.survey(Erasure("e1", "local", fitted)).model_versions == []
    raters.refit(turned)
    assert remover.survey(Erasure("e1", "local", fitted)).model_versions == [V1]
    assert remover.survey(Erasure("e2", "local", held_out)).model_versions == []
    assert remover.survey(Erasure("e3", "other", fitted)).model_versions == []
    talk = f"c{fitted.removeprefix('u')}-0"  # another who took part in it
    assert remover.survey(Erasure("e4", "local", "eve", (talk,))).model_versions == [V1]
    before = len(turned.parts.heads.labels("local", 1000))
    with turned.database.begin() as transaction:
        gone = remover.remove_rows(Erasure("e1", "local", fitted), transaction)
    assert gone["head_sources"] == TALKS
    assert len(turned.parts.heads.labels("local", 1000)) == before - TALKS
    assert remover.survey(Erasure("e1", "local", fitted)).model_versions == []


def test_a_fit_under_way_is_begun_anew_without_the_user(turned: House) -> None:
    fitted = next(f"u{n}" for n in range(40) if not is_held_out("local", f"u{n}"))
    raters.look(turned)
    worker = raters.fits(turned)

    def perform(job: Job) -> Finish:
        finish = worker.perform(job)
        with turned.database.begin() as transaction:  # the erasure comes while it fits
            erasure = Erasure("e1", "local", fitted)
            FeedbackRemover(turned.database).remove_rows(erasure, transaction)
        return finish

    assert replace(worker, perform=perform).run_once()
    assert turned.parts.heads.page("local", None, 10) == ([], 0)
    with turned.database.read() as connection:
        ids = sa.select(JOBS.c.id).where(JOBS.c.kind == FIT_JOB)
        (job,) = connection.execute(ids).scalars()
    assert job.endswith(":e1.1")
    assert worker.run_once()
    (card,), _ = turned.parts.heads.page("local", None, 10)
    assert card.labels == TALKS * card.users
    assert fitted not in {one.user_id for one in turned.parts.heads.labels("local", 1000)}
    assert turned.adds_up()


def test_a_fit_that_fails_for_good_is_counted_and_tried_at_the_next_time(turned: House) -> None:
    raters.look(turned)
    job = Job("j", FIT_JOB, {"tenant": "local"}, 3)
    with turned.database.begin() as transaction:
        raters.fits(turned).abandon(job, RuntimeError("no"), transaction)
        transaction.connection.execute(JOBS.delete())
    found = turned.parts.heads.look("local")
    assert found is not None and found.reason == "FAILED"
    assert turned.counts(STAGE)["dropped", "FAILED"] == 1
    assert raters.look(turned) == 1
    assert turned.adds_up()


def test_two_tenants_heads_of_one_number_are_kept_apart() -> None:
    house = raters.turned_house()
    raters.refit(house)
    with (
        house.database.begin() as transaction
    ):  # another tenant's first head: the shipped one as it is
        row = transaction.connection.execute(sa.select(HEADS)).one()._mapping
        same = Correction(1.0, 0.0, np.zeros(0, dtype=np.int64), np.zeros(0))
        other = {**row, "tenant": "other", "weights": packed(same, row["shipped"])}
        transaction.connection.execute(HEADS.insert().values(other))
    exchanges = [Exchange("a", "b", BAD)] * 3
    labels = house.parts.classifier.judge(exchanges, ["local", "other", "third"]).labels
    assert [label.head for label in labels] == [V1, V1, house.parts.classifier.shipped]
    (alone,) = house.parts.classifier.judge(exchanges[:1], ["local"]).labels
    assert labels[0].dissatisfaction == pytest.approx(alone.dissatisfaction)
    assert 0.0 < labels[0].dissatisfaction < 0.5 < labels[1].dissatisfaction
    assert labels[1].dissatisfaction == pytest.approx(labels[2].dissatisfaction)


def test_a_batch_of_two_tenants_is_judged_each_by_its_own(turned: House) -> None:
    raters.refit(turned)
    talk = [turn("eve", "x1", index, text) for index, text in enumerate(("What?", "7.", BAD))]
    for one in talk:
        one.tenant = "other"
    turned.log.publish([turn_event(one) for one in talk])
    turned.chat_with("u1", "x2", "What?", "7.", BAD)
    turned.settle()
    heads = {one.conversation_id: one.head for one in raters.mined(turned)}
    assert (heads["x1"], heads["x2"]) == (turned.parts.classifier.shipped, V1)
