"""Which trainer the settings name, and what stops the start."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.retrain.adapters.cluster.job_trainer import JobTrainer
from services.retrain.adapters.subprocess_trainer import SubprocessTrainer
from services.retrain.main import trainer_of
from services.retrain.settings import RetrainSettings
from shared.configuration.settings import CommonSettings
from tests.unit.retrain.cluster import manifest

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a template and a kubeconfig."""
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(manifest()))
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path


def common(**changes: Any) -> CommonSettings:
    return CommonSettings(**{"data": Path("/data"), "base_model": Path("/models/a"), **changes})


def settings(folder: Path, **changes: Any) -> RetrainSettings:
    template = {"trainer": "job", "job_template": str(folder / "job.yaml")}
    return RetrainSettings(**{**template, **changes})


def test_a_process_is_the_default_and_takes_relative_paths():
    trainer = trainer_of(CommonSettings(), RetrainSettings())
    assert isinstance(trainer, SubprocessTrainer)
    assert trainer.folders.root == Path(".trimtab/retrain/runs")


def test_jobs_are_made_in_the_namespace_that_is_named_or_else_the_contexts(folder: Path):
    trainer = trainer_of(common(), settings(folder))
    assert isinstance(trainer, JobTrainer)
    assert trainer.cluster.namespace == "team"
    assert trainer.folders.root == Path("/data/retrain/runs")
    named = trainer_of(common(), settings(folder, job_namespace="trainings"))
    assert isinstance(named, JobTrainer)
    assert named.cluster.namespace == "trainings"


@pytest.mark.parametrize(
    ("of_all", "own", "words"),
    [
        ({"data": Path("data")}, {}, "TRIMTAB_DATA: data must begin with /"),
        ({"base_model": Path("a")}, {}, "TRIMTAB_BASE_MODEL: a must begin with /"),
        ({"base_models": {"b": Path("b")}}, {}, "TRIMTAB_BASE_MODELS: b: b must begin with /"),
        ({}, {"snapshots": "here"}, "TRIMTAB_RETRAIN_SNAPSHOTS: here must begin with /"),
    ],
)
def test_paths_that_a_pod_would_not_find_stop_the_start(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    of_all: dict[str, Any],
    own: dict[str, Any],
    words: str,
):
    with pytest.raises(SystemExit):
        trainer_of(common(**of_all), settings(folder, **own))
    assert words in capsys.readouterr().err


def test_snapshots_may_be_a_url(folder: Path):
    trainer = trainer_of(common(), settings(folder, snapshots="s3://bucket/snapshots"))
    assert isinstance(trainer, JobTrainer)


def test_a_template_without_the_volume_and_a_cluster_that_nobody_names_stop_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("KUBECONFIG", str(folder / "absent"))
    # The client reads the variable when it is imported.
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(folder / "absent")
    )
    with pytest.raises(SystemExit):
        trainer_of(common(), settings(folder))
    assert "TRIMTAB_RETRAIN_TRAINER: there is no cluster here" in capsys.readouterr().err
    content = manifest()
    content["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = []
    (folder / "job.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit):
        trainer_of(common(), settings(folder))
    assert "TRIMTAB_RETRAIN_JOB_TEMPLATE: spec.template.spec" in capsys.readouterr().err
