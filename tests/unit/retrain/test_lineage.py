"""In which snapshot a pair is, which version was trained on it, or why none was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.retrain.adapters.lineage import RetrainLineage
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.sql_session import SqlSession
from services.retrain.adapters.tables import METADATA
from services.retrain.app.retrain import selected
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, State, Trigger, TriggerKind
from services.retrain.domain.selection import Alike, Caps, none_alike, verdicts
from shared.language.messages import text_message
from shared.language.pairs import Pair
from shared.serving.lineage import LineageStep
from shared.state.database import Database
from shared.state.sessions import SqlStore
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, START, TRAINED, pair, praised

CAPS = Caps(train_pairs=2, held_out_pairs=5, pairs_per_user=1)


class House:
    def __init__(self, folder: Path, *pairs: Pair) -> None:
        self.store = SqlStore(Database("sqlite://", METADATA), SqlSession)
        self.snapshots = ParquetSnapshots(str(folder))
        with self.store.begin() as session:
            for one in pairs:
                session.add_pair(one)

    def praise(self, *answers: Pair) -> None:
        with self.store.begin() as session:
            for one in answers:
                session.add_praised(one)

    def run(self, number: int, caps: Caps = CAPS, **changes: object) -> None:
        rules = Rules(caps=caps, pairs_looked_at=100)
        with self.store.begin() as session:
            snapshot = self.snapshots.keep(selected(session, LOCAL, rules))
            made = Run(
                run=f"runs/{number}",
                number=number,
                state=State.SUCCEEDED,
                trigger=Trigger(TriggerKind.PERSON, ""),
                tenant="local",
                create_time=START,
                update_time=START,
                snapshot=snapshot,
                pairs_seen=session.newest_pair(LOCAL),
                verdict="passed",
                model_version="assistant-v1",
            )
            session.put(replace(made, **changes))  # type: ignore[arg-type]

    def trace(
        self,
        conversation: str,
        tenant: str = "local",
        looked_at: int = 100,
        are_alike: Alike = none_alike,
        caps: Caps = CAPS,
    ) -> list[LineageStep]:
        lineage = RetrainLineage(
            self.store,
            self.snapshots,
            lambda _: Rules(caps=caps, pairs_looked_at=looked_at),
            lambda _: are_alike,
        )
        return list(lineage.steps(tenant, conversation, ""))


def told(steps: list[LineageStep]) -> list[tuple[str, str, str]]:
    return [(step.name, step.outcome, step.reason) for step in steps]


def test_a_pair_is_found_in_the_runs_that_learnt_from_it_or_held_it_out(tmp_path: Path) -> None:
    learnt, judged = pair(1, TRAINED[0]), pair(2, HELD_OUT[0])
    house = House(tmp_path, learnt, judged)
    house.run(1)
    house.run(2, model_version="", verdict="", state=State.TRAIN)
    first, second = house.trace("c1")
    assert (first.outcome, first.detail.split(":")[0]) == ("made", "assistant-v1 was trained on it")
    assert "runs/1 (passed)" in first.detail
    assert (second.outcome, second.reason) == ("waiting", "NO_VERSION")
    assert told(house.trace("c2")) == [("p002", "abstained", "HELD_OUT")] * 2
    assert house.trace("c1", "other") == []
    assert house.trace("c9") == []


def test_a_pair_older_than_those_that_are_looked_at_says_so(tmp_path: Path) -> None:
    house = House(tmp_path, *(pair(n, TRAINED[n]) for n in (1, 2)))
    assert told(house.trace("c1", looked_at=1)) == [("p001", "abstained", "NOT_LOOKED_AT")]
    assert told(house.trace("c2", looked_at=1)) == [("p002", "waiting", "NO_RUN_SINCE")]


def test_what_no_snapshot_has_says_why(tmp_path: Path) -> None:
    empty = pair(9, TRAINED[5], chosen=text_message("assistant", " "))
    first, second, third = (pair(n, TRAINED[n]) for n in (1, 2, 3))
    again = pair(4, TRAINED[3])
    house = House(tmp_path, first, second, third, again, empty)
    assert told(house.trace("c4")) == [("p004", "waiting", "NO_RUN_SINCE")]
    house.run(1)
    assert told(house.trace("c1")) == [("p001", "abstained", "PART_IS_FULL")]
    assert told(house.trace("c3")) == [("p003", "abstained", "USER_CAP")]
    assert told(house.trace("c9")) == [("p009", "abstained", "NOTHING_TO_LEARN")]
    alike = house.trace("c3", are_alike=lambda one: one == third)
    assert told(alike) == [("p003", "abstained", "ALIKE_WHERE_CUT")]


def test_what_is_too_old_is_left_out() -> None:
    old, new = pair(1, TRAINED[0]), pair(86_400 * 91, TRAINED[1])
    assert [verdict for _, verdict in verdicts([old, new], Caps())] == ["train", "TOO_OLD"]


def test_what_the_policys_recipe_does_not_take_is_said(tmp_path: Path) -> None:
    house = House(tmp_path, pair(1, TRAINED[0]))
    assert told(house.trace("c1"))[0][1] == "waiting"
    edits_only = replace(CAPS, sources=("edit",))
    assert told(house.trace("c1", caps=edits_only)) == [("p001", "abstained", "OTHER_SOURCE")]


def test_praise_says_which_version_learnt_to_keep_it_or_why_none_did(tmp_path: Path) -> None:
    complaint = pair(5, TRAINED[0])
    house = House(tmp_path, complaint)
    house.praise(*(praised(n, TRAINED[place]) for n, place in ((1, 0), (2, 1), (6, 2))))
    assert told(house.trace("c2")) == [("p002", "abstained", "PRAISE_NOT_KEPT")]
    keeping = replace(CAPS, praised_answers=1)
    assert told(house.trace("c6", caps=keeping)) == [("p006", "waiting", "NO_RUN_TOOK_IT")]
    house.run(1, keeping)
    (kept,) = house.trace("c6", caps=keeping)
    assert (kept.outcome, kept.detail.split(":")[0]) == ("made", "assistant-v1 learnt to keep it")
    assert "runs/1 (passed)" in kept.detail
    (older,) = house.trace("c2", caps=keeping)
    assert (older.reason, older.detail) == (
        "PRAISE_NOT_KEPT",
        "newer praise comes first, or its user has complained since",
    )
    both = replace(CAPS, praised_answers=9)
    assert told(house.trace("c2", caps=both)) == [("p002", "waiting", "NO_RUN_TOOK_IT")]
    assert told(house.trace("c1", caps=both)) == [("p001", "abstained", "PRAISE_NOT_KEPT")]
    assert house.trace("c6", "other") == []
