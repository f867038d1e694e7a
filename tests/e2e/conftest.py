"""One stack of doors for all tests that leave it standing: Kafka, interaction and gateway."""

import json
from collections.abc import Iterator

import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from tests.e2e import world

_LINES = 15


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds to a failed test's report what the parts of the newest stack warned of last."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed and world.MADE:
        for part in world.MADE[-1].programs:
            if told := _warnings(world.MADE[-1], part):
                report.sections.append((f"what {part} warned of", told))
    return report  # type: ignore[return-value]


def _warnings(stack: LocalStack, part: str) -> str:
    path = stack.log_of(part)
    found = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict) or said.get("level") in (None, "info", "debug"):
            continue
        logger = said.get("logger", "")
        if not logger.endswith(".selector"):  # a busy machine is not news
            found.append(f"{said.get('time')} {logger}: {said.get('message', '')[:400]}")
    return "\n".join(found[-_LINES:])


@pytest.fixture(scope="session")
def doors_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """vLLM's port is free: a test may serve a model of its own there."""
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("doors")))
    try:
        made.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        yield made
    finally:
        made.discard()
