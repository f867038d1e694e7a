"""What retrain removes of a user: pairs, praise, personas, rows of snapshots; which versions had learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.erasing import RetrainRemover
from services.retrain.adapters.snapshots import DATASHEET, ParquetSnapshots, read_pairs
from services.retrain.app.retrain import selected
from services.retrain.domain.runs import State
from services.retrain.domain.selection import Caps
from shared.privacy.erasure import Erasure
from shared.state.jobs import Postpone
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, TRAINED, praised

TAUGHT, JUDGED = Erasure("e1", "local", TRAINED[0]), Erasure("e2", "local", HELD_OUT[0])


class Kept(House):
    """With snapshots that are files."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        files = ParquetSnapshots(str(root))
        object.__setattr__(self.runner, "snapshots", files)
        self.remover = RetrainRemover(self.database, files, self.app)

    def remove(self, erasure: Erasure) -> dict[str, int]:
        with self.database.begin() as transaction:
            return self.remover.remove_rows(erasure, transaction)


@pytest.fixture
def house(tmp_path: Path) -> Kept:
    made = Kept(tmp_path / "snapshots")
    made.mine()
    return made


def test_versions_that_had_learnt_are_told_and_those_that_were_judged_are_not(house: Kept) -> None:
    house.start("r1", "")
    house.walk()
    assert house.remover.survey(TAUGHT).model_versions == ["assistant-v1", "assistant-v2"]
    assert house.remover.survey(TAUGHT).counts == {"snapshots": 1}
    assert house.remover.survey(JUDGED).model_versions == []
    assert house.remover.survey(JUDGED).counts == {"snapshots": 1}
    assert house.remover.survey(Erasure("e3", "another", TRAINED[0])).counts == {"snapshots": 0}


def test_rows_of_past_snapshots_go_and_the_datasheet_says_so(house: Kept) -> None:
    house.start("r1", "")
    run = house.walk()
    assert run.snapshot is not None
    before = read_pairs(run.snapshot.uri, "train")
    house.remover.remove_files(TAUGHT)
    house.remover.remove_files(JUDGED)
    left = read_pairs(run.snapshot.uri, "train")
    assert [one.pair_id for one in left] == [
        one.pair_id for one in before if one.user_id != TRAINED[0]
    ]
    assert len(read_pairs(run.snapshot.uri, "held_out")) == run.snapshot.held_out_pairs - 1
    sheet = json.loads((Path(run.snapshot.uri) / DATASHEET).read_text())
    assert sheet["redacted"] == {"train": 1, "held_out": 1, "praised": 0}
    assert sheet["digest"] == run.snapshot.digest == Path(run.snapshot.uri).name
    assert sorted(path.name for path in Path(run.snapshot.uri).iterdir()) == [
        "datasheet.json",
        "held_out.parquet",
        "train.parquet",
    ]


def test_later_snapshots_know_nothing_of_the_user(house: Kept) -> None:
    assert house.remove(TAUGHT) == {"pairs": 1, "praised": 0, "personas": 0}
    with house.store.read() as session:
        selection = selected(session, LOCAL, house.rules)
    assert TRAINED[0] not in {one.user_id for one in selection.train}
    assert house.remove(TAUGHT) == {"pairs": 0, "praised": 0, "personas": 0}


def test_pairs_of_others_that_quote_the_user_go_too(house: Kept) -> None:
    assert house.remove(Erasure("e1", "local", "nobody", ("c3",))) == {
        "pairs": 1,
        "praised": 0,
        "personas": 0,
    }


def test_a_run_under_way_with_the_user_is_cancelled(house: Kept) -> None:
    house.start("r1", "")
    run = house.walk(until=lambda run: run.state == State.TRAIN)
    with pytest.raises(Postpone):
        house.remover.remove_files(TAUGHT)
    assert house.walk().state == State.CANCELLED
    house.remover.remove_files(TAUGHT)
    assert house.remover.survey(TAUGHT).counts == {"snapshots": 0}
    assert run.snapshot is not None


def test_a_run_under_way_without_the_user_goes_on(house: Kept) -> None:
    house.start("r1", "")
    house.walk(until=lambda run: run.state == State.TRAIN)
    house.remover.remove_files(Erasure("e1", "local", "nobody"))
    assert house.walk().state == State.SUCCEEDED


def test_an_export_gives_pairs_and_the_snapshots_they_are_in(house: Kept) -> None:
    house.start("r1", "")
    house.walk()
    held = list(house.remover.holdings("local", TRAINED[0]))
    assert [kind for kind, _ in held] == ["training_pair", "snapshot_pair"]
    assert "Question 0?" in str(held[0][1])
    assert held[1][1]["part"] == "train"  # type: ignore[index]


def test_what_a_user_praised_goes_too_and_the_versions_that_kept_it_are_told(house: Kept) -> None:
    rules = replace(house.rules, caps=Caps(praised_answers=8))
    object.__setattr__(house.app, "rules", rules)
    ann = TRAINED[80]
    answers = [praised(800, ann), praised(801, TRAINED[81]), praised(802, TRAINED[81])]
    with house.store.begin() as session:
        assert [session.add_praised(one) for one in answers] == [True] * 3
    house.start("r1", "")
    run = house.walk()
    assert run.snapshot is not None
    assert [one.pair_id for one in read_pairs(run.snapshot.uri, "praised")] == [
        "p800",
        "p801",
        "p802",
    ]
    erasure = Erasure("e1", "local", ann)
    assert house.remover.survey(erasure).model_versions == ["assistant-v1", "assistant-v2"]
    held = list(house.remover.holdings("local", ann))
    assert [kind for kind, _ in held] == ["praised_answer", "snapshot_pair"]
    assert held[1][1]["part"] == "praised"  # type: ignore[index]
    # And what another praised in a conversation of the user's.
    wider = Erasure("e1", "local", ann, ("c801",))
    assert house.remove(wider) == {"pairs": 0, "praised": 2, "personas": 0}
    house.remover.remove_files(wider)
    assert [one.pair_id for one in read_pairs(run.snapshot.uri, "praised")] == ["p802"]
    sheet = json.loads((Path(run.snapshot.uri) / DATASHEET).read_text())
    assert sheet["redacted"] == {"train": 0, "held_out": 0, "praised": 2}
    with house.store.read() as session:
        assert [one.pair_id for one in session.praised(LOCAL, 9)] == ["p802"]
