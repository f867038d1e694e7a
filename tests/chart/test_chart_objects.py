"""The objects that the chart makes: probes, scaling, claims, hooks, trainings, alerts."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from infra.local.paths import REPO
from services.retrain.adapters.cluster.template import read
from tests.chart.rendering import (
    FILES,
    environment_of,
    helm_template,
    of_kind,
    rendered,
    training_job,
)
from tests.settings import SERVICES

HTTP = {"gateway": 8080, "dashboard": 8090}


@pytest.mark.parametrize("file", FILES)
def test_no_two_objects_have_one_name(file: str) -> None:
    names = Counter((one["kind"], one["metadata"]["name"]) for one in rendered(file))
    assert [one for one, count in names.items() if count > 1] == []


@pytest.mark.parametrize("file", FILES)
def test_every_object_belongs_to_the_release(file: str) -> None:
    for one in rendered(file):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "trial", one["metadata"]["name"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert one["metadata"]["namespace"] == "trials"


@pytest.mark.parametrize("file", FILES)
def test_each_install_has_a_test_of_its_own(file: str) -> None:
    hooks = [one["metadata"].get("annotations", {}).get("helm.sh/hook") for one in rendered(file)]
    assert hooks.count("test") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_probes_ask_what_the_service_answers(service: str) -> None:
    pod = of_kind(rendered("small"), "Deployment")[service]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if service in HTTP:
            assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
        else:
            port = int(
                environment_of(rendered("small"), service)[f"TRIMTAB_{service.upper()}_PORT"]
            )
            assert container[probe]["grpc"] == {"port": port}


def test_under_tls_the_kubelet_asks_what_it_can_without_a_certificate() -> None:
    pods = of_kind(rendered("several-nodes"), "Deployment")
    drift = pods["drift"]["spec"]["template"]["spec"]["containers"][0]
    assert drift["readinessProbe"]["tcpSocket"] == {"port": "grpc"}
    gateway = pods["gateway"]["spec"]["template"]["spec"]["containers"][0]
    assert gateway["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_under_tls_each_service_has_a_certificate_for_the_name_it_is_called_by() -> None:
    objects = rendered("several-nodes")
    certificates = of_kind(objects, "Certificate")
    secrets = {one["spec"]["secretName"]: one["spec"] for one in certificates.values()}
    for service in SERVICES:
        pod = of_kind(objects, "Deployment")[service]["spec"]["template"]["spec"]
        [volume] = [one for one in pod["volumes"] if one["name"] == "tls"]
        certificate = secrets[volume["secret"]["secretName"]]
        assert f"trial-trimtab-{service}" in certificate["dnsNames"]
        assert certificate["usages"] == ["server auth", "client auth"]
        environment = environment_of(objects, service)
        assert environment["TRIMTAB_TLS_CLIENT_CA"] == "/etc/trimtab/tls/ca.crt"
    assert environment_of(objects, "drift")["TRIMTAB_GATEWAY_URL"].startswith("https://")


def test_a_stopping_pod_has_time_to_drain() -> None:
    for name, one in of_kind(rendered("small"), "Deployment").items():
        pod = one["spec"]["template"]["spec"]
        drain = int(environment_of(rendered("small"), name)[f"TRIMTAB_{name.upper()}_DRAIN_S"])
        before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        # Calls are drained first, then threads.
        assert pod["terminationGracePeriodSeconds"] > before + 2 * drain


def test_what_is_scaled_says_no_number_of_replicas() -> None:
    objects = rendered("several-nodes")
    scaled = {*of_kind(objects, "ScaledObject"), *of_kind(objects, "HorizontalPodAutoscaler")}
    assert scaled == {"gateway", "interaction", "feedback", "reward", "drift"}
    for name, one in of_kind(objects, "Deployment").items():
        assert ("replicas" not in one["spec"]) == (name in scaled), name


def test_no_more_workers_than_partitions() -> None:
    objects = rendered("several-nodes", "kafka.partitions=5")
    assert of_kind(objects, "ScaledObject")["feedback"]["spec"]["maxReplicaCount"] == 5


def test_claims_outlive_an_uninstall() -> None:
    claims = of_kind(rendered("small"), "PersistentVolumeClaim")
    assert set(claims) == {"adapters", "training", "archive"}
    for one in claims.values():
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_claim_or_volume_that_is_there_already_is_taken() -> None:
    existing = "storage.adapters.existingClaim=mine"
    objects = rendered("small", existing, "storage.training.volume.hostPath.path=/srv/runs")
    assert set(of_kind(objects, "PersistentVolumeClaim")) == {"archive"}
    pod = of_kind(objects, "Deployment")["registry"]["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["adapters"]["persistentVolumeClaim"] == {"claimName": "mine"}
    assert volumes["training"]["hostPath"] == {"path": "/srv/runs"}


def test_sqlite_is_for_one_process_each() -> None:
    objects = rendered("small", "state=sqlite", "postgresql.trial.enabled=false")
    assert "postgresql" not in of_kind(objects, "StatefulSet")
    for name, one in of_kind(objects, "Deployment").items():
        assert one["spec"]["strategy"] == {"type": "Recreate"}, name
    environment = environment_of(objects, "drift")
    assert environment["TRIMTAB_DRIFT_DATABASE_URL"] == "sqlite:////var/lib/trimtab/state/drift.db"
    assert "PGPASSWORD" not in environment
    assert set(of_kind(objects, "Job")) == {"topics"}


@pytest.mark.parametrize(
    ("file", "when"), [("small", "pre-upgrade"), ("one-gpu", "pre-install,pre-upgrade")]
)
def test_hooks_run_when_the_stores_are_there(file: str, when: str) -> None:
    jobs = of_kind(rendered(file), "Job")
    assert set(jobs) == {"migrations", "topics"}
    for one in jobs.values():
        assert one["metadata"]["annotations"]["helm.sh/hook"] == when


def test_migrations_know_the_database_of_every_service() -> None:
    objects = rendered("one-gpu")
    pod = of_kind(objects, "Job")["migrations"]["spec"]["template"]["spec"]
    told = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    for service in set(SERVICES) - {"dashboard"}:
        key = f"TRIMTAB_{service.upper()}_DATABASE_URL"
        assert told[key] == environment_of(objects, service)[key]
    keyring = environment_of(objects, "drift")["TRIMTAB_KEYRING_URL"]
    assert told["TRIMTAB_KEYRING_URL"] == keyring
    assert keyring == "postgresql+psycopg://trimtab@postgresql.example.com:5432/trimtab_keyring"


def test_no_password_stands_in_a_manifest() -> None:
    objects = rendered("one-gpu")
    assert not of_kind(objects, "Secret")
    environment = environment_of(objects, "drift")
    assert environment["PGPASSWORD"] == "trimtab-postgresql/password"
    assert (
        environment_of(objects, "gateway")["TRIMTAB_GATEWAY_KEYS"] == "trimtab-secrets/gateway-keys"
    )


def test_trainer_and_retrain_share_a_folder_under_one_path() -> None:
    objects = rendered("one-gpu")
    pod = of_kind(objects, "Deployment")["retrain"]["spec"]["template"]["spec"]
    there = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    job = training_job(objects)
    trainer = job["spec"]["template"]["spec"]["containers"][0]
    here = {one["name"]: one["mountPath"] for one in trainer["volumeMounts"]}
    assert here["training"] == there["training"] == "/var/lib/trimtab/retrain"
    assert here["models"] == there["models"]
    environment = environment_of(objects, "retrain")
    assert environment["TRIMTAB_DATA"] + "/retrain" == here["training"]
    assert environment["TRIMTAB_RETRAIN_TRAINER"] == "job"
    assert environment["TRIMTAB_RETRAIN_JOB_TEMPLATE"] == there["training-job"] + "/job.yaml"
    assert trainer["command"] == ["python", "-m", "services.retrain.train"]


def test_a_training_on_several_nodes_is_torchruns() -> None:
    job = training_job(rendered("several-nodes"))
    assert job["spec"]["completionMode"] == "Indexed"
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "trainings"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    command = container["command"]
    assert command[:3] == ["python", "-m", "torch.distributed.run"]
    assert "--master-addr=$(JOB_NAME)-0.trial-trimtab-training" in command
    service = of_kind(rendered("several-nodes"), "Service")["training"]
    assert service["spec"]["clusterIP"] == "None"


def test_a_training_on_one_node_waits_for_no_queue() -> None:
    job = training_job(rendered("one-gpu"))
    assert "suspend" not in job["spec"]
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]


TRAININGS = [
    *((file, "job", 1) for file in FILES),
    ("several-nodes", "trainjob", 1),
    ("one-gpu", "job", 8),
    ("several-nodes", "job", 4),
]


@pytest.mark.parametrize(("file", "trainer", "gpus"), TRAININGS)
def test_retrain_takes_the_manifest(tmp_path: Path, file: str, trainer: str, gpus: int) -> None:
    """As it does at its start: shape, command, a volume where the runs are, a name for jobs."""
    path = tmp_path / "job.yaml"
    objects = rendered(file, f"retrain.trainer={trainer}", f"training.gpus={gpus}")
    path.write_text(yaml.safe_dump(training_job(objects)))
    template = read(str(path), trainer)
    template.check_mounts(Path("/var/lib/trimtab/retrain/runs"))
    assert template.prefix == "trial"


def test_gpus_are_asked_for_where_models_run() -> None:
    objects = rendered("several-nodes")
    pod = of_kind(objects, "StatefulSet")["vllm-base"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    small = of_kind(rendered("small"), "StatefulSet")["vllm-base"]["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in small["containers"][0]["resources"]["limits"]


def test_alerts_are_those_of_the_local_stack() -> None:
    rule = of_kind(rendered("several-nodes"), "PrometheusRule")["gateway"]
    source = yaml.safe_load((REPO / "infra" / "prometheus" / "gateway.rules.yml").read_text())
    assert rule["spec"] == source


def test_every_service_is_monitored() -> None:
    objects = rendered("several-nodes")
    monitor = of_kind(objects, "ServiceMonitor")["services"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    port = monitor["spec"]["endpoints"][0]["port"]
    monitored = {
        name
        for name, one in of_kind(objects, "Service").items()
        if wanted.items() <= one["metadata"]["labels"].items()
        and port in [each["name"] for each in one["spec"]["ports"]]
    }
    assert monitored == set(SERVICES)


def test_another_base_model_has_engines_of_its_own() -> None:
    others = ("models.others.qwen2\\.5-0\\.5b=qwen", "vllm.router=http://router:80")
    objects = rendered("one-gpu", *others)
    engines = of_kind(objects, "StatefulSet")
    assert set(engines) == {"vllm-base", "vllm-qwen2-5-0-5b"}
    pod = engines["vllm-qwen2-5-0-5b"]["spec"]["template"]["spec"]
    assert "--model=/models/qwen" in pod["containers"][0]["args"]
    environment = environment_of(objects, "registry")
    assert environment["TRIMTAB_BASE_MODELS"] == '{"qwen2.5-0.5b":"/models/qwen"}'
    assert environment["TRIMTAB_VLLM_URLS"] == "http://router:80"


def test_adapters_come_from_object_storage_where_no_volume_is_shared() -> None:
    url = "storage.adapterSync.url=s3://bucket/adapters"
    objects = rendered("several-nodes", url, "storage.adapterSync.secret=s3")
    shared = {"adapters", "training", "archive"}
    assert set(of_kind(rendered("several-nodes"), "PersistentVolumeClaim")) == shared
    assert set(of_kind(objects, "PersistentVolumeClaim")) == shared - {"adapters"}
    deployments, engines = of_kind(objects, "Deployment"), of_kind(objects, "StatefulSet")
    pods = {**deployments, **engines}
    mirrored = {}
    for name, one in pods.items():
        pod = one["spec"]["template"]["spec"]
        if any(volume["name"] == "adapters" for volume in pod["volumes"]):
            assert {"name": "adapters", "emptyDir": {}} in pod["volumes"], name
            first = pod.get("initContainers", [])
            mirrored[name] = [each["name"] for each in first if each.get("restartPolicy")]
    beside_readers = {name: ["adapters"] for name in ("evaluation", "retrain", "vllm-base")}
    assert mirrored == {"registry": [], **beside_readers}
    (beside,) = engines["vllm-base"]["spec"]["template"]["spec"]["initContainers"]
    assert beside["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert {"name": "TRIMTAB_ADAPTER_URL", "value": "s3://bucket/adapters"} in beside["env"]
    registry = deployments["registry"]["spec"]["template"]["spec"]["containers"][0]
    assert {"secretRef": {"name": "s3"}} in registry["envFrom"]
    assert environment_of(objects, "registry")["TRIMTAB_ADAPTER_URL"] == "s3://bucket/adapters"
    assert "TRIMTAB_ADAPTER_URL" not in environment_of(rendered("several-nodes"), "registry")


def test_a_long_name_stays_valid() -> None:
    text = helm_template("small", "--set", f"fullnameOverride={'a' * 40}")
    for one in filter(None, yaml.safe_load_all(text)):
        assert len(one["metadata"]["name"]) <= 63


def test_an_upgrade_starts_again_only_what_it_changes() -> None:
    before, after = rendered("several-nodes"), rendered("several-nodes", "vllm.replicas=4")
    changed = {
        name
        for name, one in of_kind(after, "Deployment").items()
        if one["spec"]["template"] != of_kind(before, "Deployment")[name]["spec"]["template"]
    }
    assert changed == {"gateway", "registry", "feedback", "evaluation"}
    engines = (
        of_kind(one, "StatefulSet")["vllm-base"]["spec"]["template"] for one in (before, after)
    )
    assert len({str(one) for one in engines}) == 1
    for _, one in of_kind(after, "StatefulSet").items():
        assert "helm.sh/chart" not in one["spec"]["template"]["metadata"]["labels"]
