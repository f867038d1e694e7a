"""A tenant's head from thumbs to the real MLflow, which is away at first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sqlalchemy as sa

from services.feedback.heads.adapters.mlflow_heads import MlflowHeads
from services.feedback.heads.adapters.sql_heads import unpacked
from shared.state.tables import JOBS
from tests.unit.feedback import raters
from tests.unit.feedback.house import House


def test_heads_and_verdicts_reach_mlflow_once_it_is_there(mlflow_url: str) -> None:
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    house = raters.house_of()
    tracking(house, MlflowHeads("http://127.0.0.1:9", timeout_s=1.0))
    raters.rate(house, raters.reversed_, range(40))
    assert refit(house) == "promoted"
    raters.rate(house, raters.noisy, raters.not_held_out(range(40, 60)))
    assert refit(house) == "NOT_BETTER"
    assert [one.mlflow_version for one in house.parts.heads.page("local", None, 9)[0]] == ["", ""]
    # MLflow is back.
    tracking(house, MlflowHeads(mlflow_url, timeout_s=20.0))
    with house.database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))
    while raters.tracks(house).run_once():
        continue
    refused, serving = house.parts.heads.page("local", None, 9)[0]
    client, model = MlflowClient(mlflow_url, mlflow_url), "dissatisfaction-local"
    found = client.get_model_version_by_alias(model, "serving")
    assert (str(found.version), found.run_id) == (serving.mlflow_version, serving.mlflow_run_id)
    assert found.tags["verdict"] == "promoted"
    other = client.get_model_version(model, refused.mlflow_version)
    assert other.tags["verdict"] == "NOT_BETTER"
    metrics = client.get_run(serving.mlflow_run_id).data.metrics
    assert metrics["log_loss_gain_low"] == serving.figures.log_loss_gain.low > 0
    assert metrics["auroc_after"] == serving.figures.auroc_after.value
    kept = download_artifacts(
        run_id=found.run_id, artifact_path="head.npz", tracking_uri=mlflow_url
    )
    again = unpacked(Path(kept).read_bytes())
    ours = unpacked(house.parts.heads.load("local", serving.version)[1])
    assert np.array_equal(again.weights, ours.weights) and again.slope == ours.slope


def tracking(house: House, tracker: MlflowHeads) -> None:
    """As a process that was started with another address."""
    house.tracker = tracker  # type: ignore[assignment]
    house.start()
    raters.judge_for_real(house)


def refit(house: House) -> str:
    raters.look(house)
    assert raters.fits(house).run_once()
    raters.tracks(house).run_once()  # finds the tracker away
    with house.database.read() as connection:
        waiting = connection.execute(sa.select(JOBS.c.kind)).scalars().all()
    assert raters.tracks(house).kind in waiting
    found = house.parts.heads.look("local")
    assert found is not None
    return found.reason
