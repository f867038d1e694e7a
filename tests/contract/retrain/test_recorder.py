"""One suite over the recorder of runs in memory and over a real MLflow: a report is kept with its run."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.memory import MemoryRecorder
from services.retrain.adapters.mlflow_runs import MlflowRuns
from services.retrain.adapters.pages.report import page_of
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.domain.ngrams import Phrases
from services.retrain.domain.report import Report, document, report_of
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, State
from services.retrain.domain.training import Trained, TrainingStep
from services.retrain.ports import RunRecorder
from tests.unit.retrain.pairs import START
from tests.unit.retrain.test_report import CONTROL, WIN, line, run

Recorder = MemoryRecorder | MlflowRuns


@pytest.fixture(params=["memory", "mlflow"])
def recorder(request: pytest.FixtureRequest) -> Recorder:
    if request.param == "memory":
        return MemoryRecorder()
    return MlflowRuns(request.getfixturevalue("mlflow_url"), lambda: START)


def trained(folder: Path) -> dict[str, Trained]:
    (folder / "adapter_config.json").write_text("{}")
    steps = (TrainingStep(1, 0.7, 0.0, 0.5, 2.0, 0.0, 1.0),)
    return {"dpo": Trained(str(folder), steps, 12.5, {"PROMPT_CUT": 2})}


def ended(run_id: str, name: str) -> Run:
    return run(WIN, CONTROL, run=name, mlflow_run_id=run_id, gate=(line("win_rate", "pass"),))


def kept(recorder: RunRecorder, run_id: str, url: str) -> tuple[str, dict[str, object]]:
    """The page and the JSON as they are kept."""
    if isinstance(recorder, MemoryRecorder):
        report = recorder.reports[run_id]
        return page_of(report), json.loads(json.dumps(document(report)))
    from mlflow.artifacts import download_artifacts

    page, data = (
        Path(download_artifacts(run_id=run_id, artifact_path=f"report/{name}", tracking_uri=url))
        for name in ("report.html", "report.json")
    )
    return page.read_text(encoding="utf-8"), json.loads(data.read_text(encoding="utf-8"))


def test_a_report_is_kept_with_its_run_the_last_one(
    recorder: Recorder, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = "" if isinstance(recorder, MemoryRecorder) else request.getfixturevalue("mlflow_url")
    name = f"run-{uuid.uuid4().hex}"
    run_id = recorder.record(run(run=name, state=State.TRAIN), trained(tmp_path))
    assert run_id
    assert recorder.record(run(run=name, state=State.TRAIN), trained(tmp_path)) == run_id
    made = ended(run_id, name)
    final: Report = report_of(replace(made, error="wörter <b>"), Phrases(pairs=3, users=3))
    for report in (report_of(made, None), final):
        recorder.close(made, report)
    page, told = kept(recorder, run_id, url)
    assert page == page_of(final)
    assert told == json.loads(json.dumps(document(final)))


def test_a_run_in_mlflow_is_tagged_with_its_recipe(mlflow_url: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    recorder = MlflowRuns(mlflow_url, lambda: START)
    rules = RecipeFolders().get("kto").applied(Rules())
    made = run(run=f"run-{uuid.uuid4().hex}", state=State.TRAIN, rules=rules)
    tags = MlflowClient(mlflow_url).get_run(recorder.record(made, trained(tmp_path))).data.tags
    assert (tags["recipe"], tags["recipe_version"], tags["objective"]) == ("kto", "1", "kto")


def test_a_run_that_was_not_recorded_is_closed_without_a_report(recorder: Recorder) -> None:
    made = ended("", "run-1")
    recorder.close(made, report_of(made, None))
    if isinstance(recorder, MemoryRecorder):
        assert recorder.reports == {}


def test_mlflow_has_the_trainings_figures_and_the_gate(mlflow_url: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    recorder, name = MlflowRuns(mlflow_url, lambda: START), f"run-{uuid.uuid4().hex}"
    run_id = recorder.record(run(run=name, state=State.TRAIN), trained(tmp_path))
    made = ended(run_id, name)
    recorder.close(made, report_of(made, None))
    client = MlflowClient(tracking_uri=mlflow_url)
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["dpo/seconds"] == 12.5
    assert found.data.metrics["dpo/pairs/PROMPT_CUT"] == 2.0
    assert found.data.metrics["evaluation/win_rate"] == 0.74
    assert found.data.metrics["evaluation/win_rate/at/assistant-v2"] == 0.7
    assert found.data.tags["verdict"] == "passed"
    files = {file.path for file in client.list_artifacts(run_id)}
    assert files == {"datasheet.json", "dpo", "gate.json", "report"}
    folder = {file.path for file in client.list_artifacts(run_id, "report")}
    assert folder == {"report/report.html", "report/report.json"}


def test_mlflow_that_is_away_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    recorder = MlflowRuns("http://127.0.0.1:9", lambda: START)
    assert recorder.record(run(state=State.TRAIN), trained(tmp_path)) == ""
    made = ended("gone", "run-1")
    recorder.close(made, report_of(made, None))
