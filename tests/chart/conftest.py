"""A real control plane with fake nodes for all tests of the chart and of what runs on Kubernetes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kubernetes import leftovers
from infra.kubernetes.cluster import FakeCluster
from infra.kubernetes.images import write_busybox_image
from infra.kubernetes.packages import missing_packages
from infra.kubernetes.real_cluster import RealCluster
from infra.kubernetes.tools import FAKE, REAL, build_tools
from tests.chart.on_the_node import installed
from tests.e2e.small_loop import SETTINGS

BUSYBOX_IMAGE = "localhost/trimtab/test:1"
# A session's cluster starts within the time of its first test, on whatever machine.
_TIMEOUT_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


def pytest_collection_finish(session: pytest.Session) -> None:
    """The programs are built before the first test: that may take many minutes, and a test has two."""
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "cluster" in fixtures:
        build_tools([*FAKE, "kubeconform"])
    if "real_cluster" in fixtures and os.getuid() == 0:
        build_tools(REAL)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    """With the custom resources of crds.toml, a node without GPUs and two with two each."""
    with FakeCluster(tmp_path_factory.mktemp("cluster")) as made:
        made.apply_crds()
        yield made


@pytest.fixture
def namespace(cluster: FakeCluster) -> Iterator[str]:
    """A fresh one, deleted afterwards with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """With an image that has a shell and a web server. Nothing of it is left afterwards."""
    if os.getuid() != 0:
        pytest.skip("a real node needs root")
    if absent := missing_packages():
        pytest.skip(f"`python -m infra.kubernetes packages` would install {', '.join(absent)}")
    folder = tmp_path_factory.mktemp("node")
    with RealCluster(folder) as cluster:
        archive = folder / "busybox.tar"
        write_busybox_image(archive, BUSYBOX_IMAGE, ["/bin/busybox", "sh", "-c"])
        cluster.load_image(archive)
        yield cluster
    assert leftovers.seen() == []
    assert f" {folder}/" not in Path("/proc/self/mounts").read_text()


@pytest.fixture(scope="session")
def platform(
    real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealCluster]:
    """Installed once, with the settings of the small loop, which is played first (test_real_loop.py)."""
    yield from installed(real_cluster, tmp_path_factory.mktemp("values") / "node.yaml", SETTINGS)
