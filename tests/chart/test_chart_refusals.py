"""Values that cannot work are refused by name, and the refusal says what to set."""

import pytest

from tests.chart.rendering import Refused, helm_template


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("small", ["gatway.replicas=2"], "additional properties 'gatway' not allowed"),
        ("small", ["gateway.replica=2"], "additional properties 'replica' not allowed"),
        ("small", ["gateway.extra.nodeSelectr.a=b"], "'nodeSelectr' not allowed"),
        ("small", ["vllm.device=tpu"], "at '/vllm/device'"),
        ("small", ["gateway.replicas=two"], "at '/gateway/replicas'"),
        ("small", ["vllm.maxLoraRank=17"], "at '/vllm/maxLoraRank'"),
        ("small", ["postgresql.user=a b"], "at '/postgresql/user'"),
        ("small", ["kafka.trial.enabled=false"], "set kafka.bootstrapServers"),
        ("small", ["mlflow.trial.enabled=false"], "set mlflow.url"),
        ("small", ["postgresql.trial.enabled=false"], "set postgresql.host"),
        ("one-gpu", ["postgresql.existingSecret="], "set postgresql.existingSecret"),
        ("small", ["kafka.replication=3"], "kafka.replication=3 needs as many brokers"),
        ("small", ["secrets.generate=false"], "set secrets.existingSecret"),
        ("small", ["state=sqlite", "drift.replicas=2"], "drift.replicas=2 needs state=postgresql"),
        (
            "small",
            ["state=sqlite", "feedback.autoscaling.enabled=true"],
            "feedback.autoscaling.enabled=true needs state=postgresql",
        ),
        (
            "small",
            ["gateway.autoscaling.enabled=true", "gateway.autoscaling.min=20"],
            "gateway.autoscaling.min=20 is more than max=10",
        ),
        ("small", ["vllm.enabled=false"], "Nothing answers chats"),
        ("small", ["vllm.urls={http://engine:8000}"], "choose one"),
        ("small", ["vllm.maxLoras=2"], "vllm.maxLoras=2 is too few"),
        ("small", ["vllm.maxCpuLoras=1"], "must be at least vllm.maxLoras=3"),
        ("one-gpu", ["vllm.gpus=0"], "vllm.gpus=0 is none"),
        ("one-gpu", ["models.others.qwen=qwen"], "set vllm.router"),
        ("one-gpu", ["vllm.inferencePool.enabled=true"], "needs vllm.inferencePool.url"),
        ("small", ["models.volume=null"], "set models.volume"),
        (
            "small",
            ["models.volume.persistentVolumeClaim.claimName=models"],
            "models.volume is of several kinds (hostPath, persistentVolumeClaim)",
        ),
        (
            "small",
            ["retrain.trainer=process", "training.queue=q"],
            "training.queue=q needs retrain.trainer=job",
        ),
        (
            "small",
            ["storage.training.existingClaim=a", "storage.training.volume.emptyDir.medium=Memory"],
            "storage.training has both existingClaim and volume",
        ),
    ],
)
def test_it_is_refused_by_name(file: str, values: list[str], said: str) -> None:
    words = [word for value in values for word in ("--set", value)]
    with pytest.raises(Refused) as refused:
        helm_template(file, *words)
    assert said in str(refused.value)


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(Refused) as refused:
        helm_template("small", "--set", "kafka.trial.enabled=false,mlflow.trial.enabled=false")
    assert "kafka.bootstrapServers" in str(refused.value)
    assert "mlflow.url" in str(refused.value)
