"""Interaction serves once its storing process does; a stop of both at any moment is clean and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infra.local.ports import free_ports
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.access.headers import TENANT
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from tests.integration.access.processes import started, until

MINE = ((TENANT, "local"),)
# What a process that does not begin at once would have told by now.
A_WHILE_S = 5.0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("storing")))
    try:
        made.up(only=["kafka"], timeout_s=90)
        yield made
    finally:
        made.discard()


class Interaction:
    """Its processes, begun anew as often as one likes."""

    def __init__(self, kafka: LocalStack, folder: Path) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{free_ports(1)[0]}"
        self.env = {
            **os.environ,
            **kafka.env(),
            "TRIMTAB_DATA": str(folder / "data"),
            "TRIMTAB_KEYRING_URL": f"sqlite:///{folder}/keyring.db",
            "TRIMTAB_INTERACTION_PORT": self.address.rpartition(":")[2],
            "TRIMTAB_INTERACTION_METRICS_PORT": "0",
            "TRIMTAB_INTERACTION_DATABASE_URL": f"sqlite:///{folder}/interaction.db",
        }

    def start(self) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        """The service, and its storing process at its first moment."""
        service = started("interaction", self.env, self.folder)
        found: list[psutil.Process] = []

        def storing() -> bool:
            found[:] = psutil.Process(service.pid).children()
            return bool(found) or service.poll() is not None

        until(storing, every_s=0.005)
        assert found, (self.folder / "interaction.log").read_text()
        return service, found[0]

    def is_serving(self) -> bool:
        with grpc.insecure_channel(self.address) as channel:
            asked = health_pb2.HealthCheckRequest(service="")
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=2.0)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def say(self, conversation: str, turns: int) -> None:
        said = [
            common.Turn(
                conversation_id=conversation,
                user_id="ada",
                index=index,
                message=common.Message(
                    role=common.ROLE_USER,
                    parts=[common.Part(text=common.TextPart(text=f"word {index}"))],
                ),
            )
            for index in range(turns)
        ]
        with grpc.insecure_channel(self.address) as channel:
            stub = InteractionServiceStub(channel)
            answer = stub.LogTurns(pb.LogTurnsRequest(turns=said), metadata=MINE, timeout=20.0)
        assert len(answer.names) == turns

    def stored(self, conversation: str) -> int:
        name = f"tenants/local/conversations/{conversation}"
        with grpc.insecure_channel(self.address) as channel:
            asked = pb.GetConversationRequest(name=name)
            try:
                stub = InteractionServiceStub(channel)
                found = stub.GetConversation(asked, metadata=MINE, timeout=5.0)
            except grpc.RpcError:
                return 0
        return len(found.turns)


@pytest.fixture
def interaction(kafka: LocalStack, tmp_path: Path) -> Iterator[Interaction]:
    yield Interaction(kafka, tmp_path)


def stop(service: subprocess.Popen[bytes], storing: psutil.Process) -> int:
    """As a supervisor does that signals every process of a service."""
    storing.send_signal(signal.SIGTERM)
    service.send_signal(signal.SIGTERM)
    code = service.wait(30)
    assert not storing.is_running()
    return code


def test_it_serves_once_its_storing_process_works(interaction: Interaction) -> None:
    service, storing = interaction.start()
    storing.suspend()
    deadline = time.monotonic() + A_WHILE_S
    while time.monotonic() < deadline:
        assert not interaction.is_serving()
    storing.resume()
    until(interaction.is_serving)
    assert stop(service, storing) == 0


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.0, 2.0])
def test_a_stop_in_the_storing_processs_first_moments_is_clean_and_loses_nothing(
    interaction: Interaction, after_s: float
) -> None:
    service, storing = interaction.start()
    until(interaction.is_serving)
    storing.suspend()  # what is taken in now is stored by a later one
    interaction.say("c1", 40)
    storing.resume()
    assert stop(service, storing) == 0
    service, storing = interaction.start()
    time.sleep(after_s)
    assert stop(service, storing) == 0
    service, storing = interaction.start()
    until(lambda: interaction.stored("c1") == 40)
    assert stop(service, storing) == 0
