"""What retrain removes of a user: pairs, personas, rows of snapshots; which versions had learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.retrain.adapters.erasing import RetrainRemover
from services.retrain.adapters.snapshots import DATASHEET, ParquetSnapshots, read_pairs
from services.retrain.app.retrain import selected
from services.retrain.domain.runs import State
from shared.privacy.erasure import Erasure
from shared.state.jobs import Postpone
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, TRAINED

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
    assert sheet["redacted"] == {"train": 1, "held_out": 1}
    assert sheet["digest"] == run.snapshot.digest == Path(run.snapshot.uri).name
    assert sorted(path.name for path in Path(run.snapshot.uri).iterdir()) == [
        "datasheet.json",
        "held_out.parquet",
        "train.parquet",
    ]


def test_later_snapshots_know_nothing_of_the_user(house: Kept) -> None:
    assert house.remove(TAUGHT) == {"pairs": 1, "personas": 0}
    with house.store.read() as session:
        selection = selected(session, LOCAL, house.rules)
    assert TRAINED[0] not in {one.user_id for one in selection.train}
    assert house.remove(TAUGHT) == {"pairs": 0, "personas": 0}


def test_pairs_of_others_that_quote_the_user_go_too(house: Kept) -> None:
    assert house.remove(Erasure("e1", "local", "nobody", ("c3",))) == {"pairs": 1, "personas": 0}


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
