"""The template of training jobs: what is wrong in it is named when the service starts."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.retrain.adapters.cluster.template import SHAPES, Template, read
from services.retrain.settings import RetrainSettings
from shared.configuration.settings import load
from tests.unit.retrain.cluster import manifest, train_job


def written(folder: Path, content: object) -> str:
    path = folder / "job.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def with_container(**changes: Any) -> dict[str, Any]:
    job = manifest()
    job["spec"]["template"]["spec"]["containers"][0] |= changes
    return job


def with_pod(**changes: Any) -> dict[str, Any]:
    job = manifest()
    job["spec"]["template"]["spec"] |= changes
    return job


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not one document of YAML"),
        ("just words", "is not a manifest"),
        ({**manifest(), "kind": "Pod"}, "apiVersion and kind are batch/v1 and Pod"),
        (train_job(), "needs batch/v1 and Job"),
        ({**manifest(), "spec": {}}, "spec.template.spec is missing"),
        (with_pod(containers=[]), "spec.template.spec.containers needs a container"),
        (with_container(image=""), "needs a container with an image"),
        (with_pod(restartPolicy="OnFailure"), "spec.template.spec.restartPolicy must be Never"),
        (manifest(parallelism=2), "spec.completions is 1 and spec.parallelism 2"),
        (manifest(completions=4), "spec.completions is 4 and spec.parallelism 1"),
        (manifest(completions=2, parallelism=2), "containers[0].command starts one process"),
        (
            manifest(completions=2, parallelism=2, completionMode="NonIndexed"),
            "spec.completionMode must be Indexed",
        ),
        (
            with_container(resources={"limits": {"nvidia.com/gpu": 2}}),
            "which trains on one GPU, but there are 2 GPUs: begin it with torchrun",
        ),
        ({**manifest(), "metadata": {"name": "Not_A_Label"}}, "metadata.name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: object, words: str):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        read(path, "job")
    assert str(refused.value).startswith(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (manifest(), "needs trainer.kubeflow.org/v1alpha1 and TrainJob"),
        ({**train_job(), "spec": {"trainer": {}}}, "spec.runtimeRef is missing"),
        ({**train_job(), "spec": {"runtimeRef": {"name": "torch"}}}, "spec.trainer is missing"),
        (
            train_job(command=["python"], numNodes=2),
            "spec.trainer.command starts one process, which trains on one GPU, but there are 2 pods",
        ),
        (
            train_job(command=["python"], resourcesPerNode={"limits": {"nvidia.com/gpu": "4"}}),
            "there are 4 GPUs",
        ),
    ],
)
def test_what_is_wrong_in_a_train_job_is_named(tmp_path: Path, content: object, words: str):
    with pytest.raises(ValueError, match=re.escape(words)):
        read(written(tmp_path, content), "trainjob")


def test_several_pods_are_one_training_that_begins_anew_if_one_fails(tmp_path: Path):
    command = ["python", "-m", "torch.distributed.run", "-m", "services.retrain.train"]
    job = with_container(command=command)
    job["spec"] |= {"completions": 2, "parallelism": 2, "backoffLimit": 3}
    filled = read(written(tmp_path, job), "job").filled("a", {}, {}, ["--job", "j"])
    assert (filled["spec"]["backoffLimit"], filled["spec"]["completionMode"]) == (0, "Indexed")
    one = read(written(tmp_path, manifest(backoffLimit=3)), "job").filled("a", {}, {}, [])
    assert one["spec"]["backoffLimit"] == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"job\.yaml cannot be read: No such file"):
        read(str(tmp_path / "job.yaml"), "job")


def test_runs_must_lie_on_a_volume_of_the_pod(tmp_path: Path):
    mounts = [{"name": "data", "mountPath": "/data"}]
    template = read(written(tmp_path, with_container(volumeMounts=mounts)), "job")
    template.check_mounts(Path("/data/retrain/runs"))
    with pytest.raises(ValueError, match="no volume is mounted at or above /database/runs"):
        template.check_mounts(Path("/database/runs"))
    bare = read(written(tmp_path, with_container(volumeMounts=None)), "job")
    with pytest.raises(ValueError, match=r"containers\[0\].volumeMounts"):
        bare.check_mounts(Path("/data"))


def test_names_are_labels_that_leave_room_for_pods_names():
    template = Template(SHAPES["job"], {"metadata": {"name": "acme-trimtab"}})
    assert template.name_of("run-7-abc123", "dpo") == "acme-trimtab-run-7-abc123-dpo"
    labelled = Template(
        SHAPES["job"], {"metadata": {"labels": {"app.kubernetes.io/instance": "b"}}}
    )
    assert labelled.name_of("run-7-abc123", "dpo") == "b-run-7-abc123-dpo"
    long = template.name_of("run-7-" + "x" * 60, "dpo")
    assert re.fullmatch(r"acme-trimtab-run-7-x+-[0-9a-f]{10}", long)
    assert len(long) == 52
    assert long != template.name_of("run-7-" + "x" * 60, "sft")
    assert re.fullmatch(r"acme-trimtab-run-7-b-[0-9a-f]{10}", template.name_of("Run_7.b", ""))


def test_the_template_keeps_what_it_says_and_its_namespace_is_the_settings(tmp_path: Path):
    content = with_container(args=["-v"])
    content["metadata"] = {"name": "acme", "namespace": "elsewhere", "annotations": {"a": "b"}}
    template = read(written(tmp_path, content), "job")
    filled = template.filled("acme-run-1-dpo", {"x": "y"}, {"c": "d"}, ["--job", "j"])
    assert filled["metadata"] == {
        "name": "acme-run-1-dpo",
        "labels": {"x": "y"},
        "annotations": {"a": "b", "c": "d"},
    }
    assert filled["spec"]["template"]["spec"]["containers"][0]["args"] == ["-v", "--job", "j"]
    assert template.content == content
    other = read(written(tmp_path, with_container(args=["-q"])), "job")
    assert template.digest != other.digest


def test_the_settings_name_the_template_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TRIMTAB_RETRAIN_TRAINER", "job")
    with pytest.raises(SystemExit):
        load(RetrainSettings)
    path = written(tmp_path, manifest(parallelism=2))
    monkeypatch.setenv("TRIMTAB_RETRAIN_JOB_TEMPLATE", path)
    with pytest.raises(SystemExit):
        load(RetrainSettings)
    monkeypatch.setenv("TRIMTAB_RETRAIN_JOB_TEMPLATE", written(tmp_path, manifest()))
    assert load(RetrainSettings).job_template.endswith("job.yaml")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("settings: TRIMTAB_RETRAIN_JOB_TEMPLATE: ")
    assert "'job' needs the file" in first
    assert f"TRIMTAB_RETRAIN_JOB_TEMPLATE: Value error, {path}: spec.completions is 1" in second
    monkeypatch.setenv("TRIMTAB_RETRAIN_TRAINER", "argo")
    with pytest.raises(SystemExit):
        load(RetrainSettings)
    assert (
        "TRIMTAB_RETRAIN_TRAINER: Input should be 'process', 'job' or 'trainjob'"
        in capsys.readouterr().err
    )
