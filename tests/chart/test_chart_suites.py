"""The chart's own suites, for those who have Helm and no Python."""

from __future__ import annotations

from infra.kubernetes.processes import run
from infra.kubernetes.tools import tool
from tests.chart.rendering import CHART


def test_the_suites_pass() -> None:
    told = run([tool("helm-unittest"), str(CHART)])
    assert "Tests:       4 passed, 4 total" in told
