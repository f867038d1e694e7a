"""One Kafka node in KRaft mode: broker and controller in one process, nothing replicated."""

import base64
import subprocess
import uuid
from pathlib import Path

from infra.local.settings import StackSettings


def properties(settings: StackSettings) -> dict[str, str]:
    """server.properties. Services create their topics, so nothing is created by accident."""
    broker = f"{settings.host}:{settings.kafka.port}"
    controller = f"{settings.host}:{settings.kafka.controller_port}"
    one_copy = (
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.replication.factor",
        "share.coordinator.state.topic.min.isr",
    )
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": controller,
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(settings.data / "kafka" / "log"),
        "num.partitions": str(settings.kafka.partitions),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed may rejoin only after its previous session has expired.
        "broker.session.timeout.ms": "5000",
        "broker.heartbeat.interval.ms": "1000",
        # The default is fifty partitions each; on one node that only slows start and recovery.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        # Keep every event for as long as the data folder exists, so that any conversation can be traced.
        "log.retention.hours": "-1",
    } | dict.fromkeys(one_copy, "1")


def broker_command(settings: StackSettings) -> tuple[str, ...]:
    heap = f"-Xmx{settings.kafka.heap_mb}m"
    return ("java", heap, *_java_options(settings), "kafka.Kafka", str(_file(settings)))


def prepare(settings: StackSettings) -> None:
    """Write the properties and, the first time, format the log folder."""
    file = _file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key}={value}\n" for key, value in properties(settings).items()))
    if (settings.data / "kafka" / "log" / "meta.properties").exists():
        return
    tool = ["java", *_java_options(settings), "kafka.tools.StorageTool", "format", "--standalone"]
    subprocess.run(  # noqa: S603
        [*tool, "--ignore-formatted", "-t", _cluster_id(), "-c", str(file)],
        check=True,
        capture_output=True,
    )


def _cluster_id() -> str:
    """Kafka's own form of an id; a leading dash would read as an option."""
    return "T" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _java_options(settings: StackSettings) -> tuple[str, ...]:
    jars = settings.parts / "kafka" / "libs" / "*"
    return ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", str(jars))


def _file(settings: StackSettings) -> Path:
    return settings.data / "kafka" / "server.properties"
