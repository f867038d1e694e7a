"""The small loop closed once in containers: an alarm, a training in a pod, a version and its verdict."""

from __future__ import annotations

import asyncio

import pytest

from infra.demo.clients import SERVICES, Clients
from infra.demo.progress import Progress
from infra.demo.stage import Stage
from infra.kubernetes.real_cluster import RealCluster
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from tests.chart.on_the_node import address, api_key, training_jobs
from tests.e2e.small_loop import VERDICTS, Played, play

pytestmark = [pytest.mark.real_node, pytest.mark.platform, pytest.mark.timeout(5400)]


@pytest.fixture(scope="module")
def played(platform: RealCluster) -> Played:
    """The act once for all tests."""
    return asyncio.run(_play(platform))


async def _play(platform: RealCluster) -> Played:
    env = {f"TRIMTAB_{one.upper()}_ADDRESS": address(platform, one) for one in SERVICES}
    clients = Clients(env, "local")
    stage = Stage(
        prefix="node",
        gateway_url=f"http://{address(platform, 'gateway')}",
        dashboard_url="",
        key=api_key(platform),
        clients=clients,
        progress=Progress(),
    )
    try:
        return await play(clients, stage)
    finally:
        await clients.close()


def test_an_alarm_starts_a_run_that_comes_to_a_verdict(played: Played) -> None:
    assert played.trigger == retrain_pb2.TRIGGER_KIND_DRIFT
    assert played.act.verdict in VERDICTS, played.act.problem


def test_its_training_ran_in_a_pod(platform: RealCluster, played: Played) -> None:
    run = played.act.run
    assert run is not None and run.model_version
    name = run.name.removeprefix("runs/")
    assert any(name in job for job in training_jobs(platform))


def test_users_noticed_nothing_but_the_answers(played: Played) -> None:
    assert played.act.book.failures == []
    assert played.unknown_versions == set()


def test_counts_add_up_from_stage_to_stage(played: Played) -> None:
    assert played.wrong_counts == []
