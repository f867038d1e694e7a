"""The chart's training jobs are templates that retrain takes."""

from pathlib import Path

import pytest
import yaml

from services.retrain.adapters.cluster.template import read
from tests.chart.rendering import environment_of, rendered, training_job


@pytest.mark.parametrize(
    ("file", "trainer", "sets"),
    [
        ("one-gpu", "job", ()),
        ("several-nodes", "job", ()),
        ("several-nodes", "trainjob", ()),
        ("several-nodes", "job", ("training.nodes=3", "training.gpus=2")),
        ("several-nodes", "trainjob", ("training.nodes=3", "training.gpus=2")),
    ],
)
def test_retrain_takes_the_charts_template(
    tmp_path: Path, file: str, trainer: str, sets: tuple[str, ...]
):
    objects = rendered(file, f"retrain.trainer={trainer}", *sets)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(training_job(objects)))
    template = read(str(path), trainer)
    template.check_mounts(Path(environment_of(objects, "retrain")["TRIMTAB_DATA"]) / "retrain/runs")
    assert template.name_of("run-7-abc123", "dpo") == "trial-run-7-abc123-dpo"
