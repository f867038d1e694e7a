"""Runs in MLflow: plan, snapshot, every step's figures, the adapters, the gate's verdict, the report."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from services.retrain.adapters.pages.report import page_of
from services.retrain.domain.report import Report, document
from services.retrain.domain.runs import Run
from services.retrain.domain.training import Trained, TrainingStep
from shared.language.estimates import figure_name

_log = logging.getLogger(__name__)
_EXPERIMENT = "trimtab-retrain"  # followed by the tenant: runs of tenants do not mix


class MlflowRuns:
    """An MLflow that is unavailable is logged and stops nothing: the run's own row has every figure, too."""

    def __init__(self, url: str, clock: Callable[[], datetime]) -> None:
        self._client, self._clock = MlflowClient(tracking_uri=url), clock

    def record(self, run: Run, trained: dict[str, Trained]) -> str:
        try:
            return self._record(run, trained)
        except Exception as error:  # noqa: BLE001 - nothing depends on the record
            _log.warning("%s is not in MLflow: %s", run.run, type(error).__name__)
            return ""

    def close(self, run: Run, report: Report) -> None:
        if not run.mlflow_run_id:
            return
        try:
            self._close(run, report)
        except Exception as error:  # noqa: BLE001 - nothing depends on the record
            _log.warning("the end of %s is not in MLflow: %s", run.run, type(error).__name__)

    def _record(self, run: Run, trained: dict[str, Trained]) -> str:
        experiment = self._experiment(f"{_EXPERIMENT}/{run.tenant}")
        found = self._client.search_runs([experiment], f"tags.run = '{run.run}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        snapshot = run.snapshot
        tags = {
            "run": run.run,
            "tenant": run.tenant,
            "policy": run.policy,
            "trigger": run.trigger.kind.value,
            "detail": run.trigger.detail,
            "objective": run.rules.plan.objective,
        }
        if run.rules.recipe:
            tags |= {"recipe": run.rules.recipe, "recipe_version": str(run.rules.recipe_version)}
        if snapshot:
            tags |= {"snapshot_digest": snapshot.digest, "snapshot_uri": snapshot.uri}
        made = self._client.create_run(experiment, run_name=run.run, tags=tags)
        for objective, one in trained.items():
            self._log_training(made.info.run_id, objective, one)
        if snapshot:
            self._client.log_dict(made.info.run_id, asdict(snapshot), "datasheet.json")
        params = [Param(key, str(value)) for key, value in asdict(run.rules.plan).items()]
        self._client.log_batch(made.info.run_id, params=params)
        return str(made.info.run_id)

    def _log_training(self, run_id: str, objective: str, trained: Trained) -> None:
        now_ms = int(self._clock().timestamp() * 1000)
        metrics = [
            Metric(f"{objective}/{name}", float(value), now_ms, step.step)
            for step in trained.steps
            for name, value in _figures(step)
        ]
        metrics.append(Metric(f"{objective}/seconds", trained.seconds, now_ms, 0))
        metrics += [
            Metric(f"{objective}/pairs/{reason}", float(count), now_ms, 0)
            for reason, count in trained.counts.items()
        ]
        self._client.log_batch(run_id, metrics=metrics)
        self._client.log_artifacts(run_id, trained.adapter_path, f"{objective}/adapter")

    def _close(self, run: Run, report: Report) -> None:
        now_ms = int(self._clock().timestamp() * 1000)
        figures = [Metric(_key(figure_name(e)), e.value, now_ms, 0) for e in run.estimates]
        tags = [
            RunTag("verdict", run.verdict),
            RunTag("model_version", run.model_version),
            RunTag("control_version", run.control_version),
        ]
        self._client.log_batch(run.mlflow_run_id, metrics=figures, tags=tags)
        gate = {"verdict": run.verdict, "lines": [asdict(line) for line in run.gate]}
        self._client.log_dict(run.mlflow_run_id, gate, "gate.json")
        self._client.log_text(run.mlflow_run_id, page_of(report), "report/report.html")
        self._client.log_dict(run.mlflow_run_id, document(report), "report/report.json")
        self._client.set_terminated(run.mlflow_run_id)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))


_OF_GROUPS = {"group_margins": "group_margin", "preference": "preference"}


def _figures(step: TrainingStep) -> Iterator[tuple[str, float]]:
    for name, value in asdict(step).items():
        if name in _OF_GROUPS:
            of = ((_allowed(group), one) for group, one in value.items())
            yield from ((f"{_OF_GROUPS[name]}/{group}", one) for group, one in of)
        elif name != "step":
            yield name, value


def _allowed(group: str) -> str:
    """A group's name as far as MLflow allows it in that of a metric."""
    return re.sub(r"[^\w.\- ]", "-", group)


def _key(name: str) -> str:
    """MLflow allows no "@" in metric names."""
    return f"evaluation/{name.replace('@', '/at/')}"
