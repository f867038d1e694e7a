"""The supervisor starts again what is killed."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from infra.local.strays import stray_groups


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path))
    yield made
    made.discard()


def test_a_killed_broker_comes_back_and_down_leaves_nothing(stack: LocalStack) -> None:
    stack.up(only=["kafka"])
    killed = stack.kill("kafka")
    assert stack.pid("kafka") != killed, "a killed part must not be named as the one that runs"
    deadline = time.monotonic() + 60
    while stack.pid("kafka") in (0, killed):
        assert time.monotonic() < deadline, "the supervisor did not restart the broker"
        time.sleep(0.1)
    stack.wait_ready(["kafka"], timeout_s=60)
    alive = stack.pid("kafka")

    stack.up(only=["kafka"])
    assert stack.pid("kafka") == alive, "a second up must leave a running part alone"
    health = {row.part: row.health for row in stack.status()}
    assert (health["kafka"], health["mlflow"]) == ("ok", "-")

    stack.down()
    assert not psutil.pid_exists(alive)
    assert stray_groups(stack.settings.data) == set()
