"""The twin of a cluster's API; a real one is held to the same in tests/chart/test_training_api.py."""

import pytest

from services.retrain.adapters.cluster.api import JOB, TRAIN_JOB
from services.retrain.adapters.cluster.memory import MemoryCluster
from tests.contract.retrain.clusters import ClusterContract


@pytest.fixture
def api() -> MemoryCluster:
    return MemoryCluster(kinds=(JOB, TRAIN_JOB))


class TestMemoryCluster(ClusterContract):
    pass
