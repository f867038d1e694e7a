"""Trainings that are held to the policy's champions: which these are, and where their adapters come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.app.runner import is_final
from services.retrain.codec import encode_run
from services.retrain.domain.report import report_of
from services.retrain.domain.runs import Run, State
from services.retrain.domain.training import PastPolicy, TrainingPlan
from services.retrain.ports import Candidate
from shared.encoding.base_models import CONFIG, WEIGHTS, base_digest, write_base
from shared.language.errors import FailedPrecondition
from tests.unit.retrain.cluster import run_of
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import LOCAL

BASE_MODEL = Candidate("assistant-v0", "base", "")
MNPO = TrainingPlan(objective="mnpo")


def ended(house: House, request_id: str, recipe: str) -> Run:
    house.app.start(LOCAL, request_id, "ann", recipe)
    return house.walk()


@pytest.fixture
def house() -> House:
    found = House()
    found.app = replace(found.app, recipe_of=RecipeFolders().get)
    found.mine()
    return found


def test_a_run_is_held_to_the_champions_of_when_its_snapshot_was_made(house: House):
    first = ended(house, "a", "mnpo")
    assert first.state == State.SUCCEEDED
    assert first.history == (PastPolicy("assistant-v0"),)
    house.registry.serving[LOCAL] = first.model_version
    house.registry.former[LOCAL] = [BASE_MODEL, Candidate("assistant-v9", "v9", "adapters/v9")]
    second = ended(house, "b", "mnpo")
    champion = PastPolicy("assistant-v1", f"adapters/{first.run}/mnpo")
    assert second.history == (champion, PastPolicy("assistant-v0"))
    assert second.champion_version == "assistant-v1"
    # What came after does not change it, and whoever asks is told.
    house.registry.serving[LOCAL] = "assistant-v3"
    assert house.get(second.run).history == second.history
    told = [(one.version, one.adapter_path) for one in encode_run(second).history]
    assert told == [("assistant-v1", f"adapters/{first.run}/mnpo"), ("assistant-v0", "")]
    again = report_of(second, None).reproduce
    assert again is not None
    assert again.held_to == ("assistant-v1", "assistant-v0 (the base model)")
    assert [one["version"] for one in again.job["history"]] == ["assistant-v1", "assistant-v0"]


def test_other_objectives_ask_for_no_champions(house: House):
    run = ended(house, "a", "dpo")
    assert (run.champion_version, run.history) == ("assistant-v0", ())
    again = report_of(run, None).reproduce
    assert again is not None and "history" not in again.job


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights of the base model")
    return tmp_path / "base"


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    """Of a version that serves. Its base model lay elsewhere when it was trained."""
    folder = tmp_path / "adapters" / "assistant-v3"
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights of the adapter")
    (folder / CONFIG).write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    write_base(folder, base_digest(base))
    return folder


def held_to(adapter: Path) -> Run:
    return replace(
        run_of(), history=(PastPolicy("assistant-v3", str(adapter)), PastPolicy("assistant-v0"))
    )


def test_the_adapters_are_brought_into_the_runs_own_folder(
    tmp_path: Path, base: Path, adapter: Path
):
    folders, run = TrainingFolders(tmp_path / "runs", base), held_to(adapter)
    training = folders.of(run, MNPO)
    own = tmp_path / "runs" / "run-1" / "history" / "assistant-v3"
    assert training.job["history"] == [
        {"version": "assistant-v3", "adapter_path": str(own)},
        {"version": "assistant-v0", "adapter_path": ""},
    ]
    training.ask()
    assert json.loads(training.job_file.read_text())["history"] == training.job["history"]
    assert (own / WEIGHTS).read_bytes() == b"weights of the adapter"
    assert [one.name for one in own.parent.iterdir()] == ["assistant-v3"]
    # A training that goes on needs nothing of the registry's any more.
    (adapter / WEIGHTS).unlink()
    folders.of(run, MNPO).ask()
    assert "history" not in folders.of(run, replace(MNPO, objective="sft")).job
    assert len(folders.of(run, replace(MNPO, history=1)).job["history"]) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "NO_SUCH_ADAPTER"),
        (lambda folder: (folder / CONFIG).unlink(), "NO_SUCH_ADAPTER"),
        (lambda folder: write_base(folder, "0" * 64), "FOREIGN_BASE"),
        # Then its path alone tells.
        (lambda folder: (folder / "base_model.json").unlink(), "FOREIGN_BASE"),
    ],
)
def test_an_adapter_that_is_not_to_be_had_ends_the_run_and_names_the_version(
    tmp_path: Path, base: Path, adapter: Path, change: Callable[[Path], None], reason: str
):
    change(adapter)
    training = TrainingFolders(tmp_path / "runs", base).of(held_to(adapter), MNPO)
    with pytest.raises(FailedPrecondition, match="held to assistant-v3, but") as refused:
        training.ask()
    assert refused.value.reason == reason
    assert is_final(refused.value)
    assert not training.job_file.exists()
