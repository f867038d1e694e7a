"""A service whose port is in use ends, so that its supervisor starts it again: it does not wait for ever
with threads and no server."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.ports import free_ports
from tests.integration.access.processes import started

pytestmark = pytest.mark.slow


@pytest.fixture
def taken() -> Iterator[int]:
    """Bound as the end of a connection is: nobody answers there."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("retrain", "TRIMTAB_RETRAIN_PORT"),
        ("retrain", "TRIMTAB_RETRAIN_METRICS_PORT"),
        ("gateway", "TRIMTAB_GATEWAY_PORT"),
        ("gateway", "TRIMTAB_GATEWAY_METRICS_PORT"),
    ],
)
def test_a_service_whose_port_is_in_use_ends(
    service: str, setting: str, taken: int, tmp_path: Path
) -> None:
    nobody, *ports = free_ports(4)
    named = dict(zip(("PORT", "METRICS_PORT", "OTLP_PORT"), map(str, ports), strict=True))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    env |= {f"TRIMTAB_{service.upper()}_{name}": port for name, port in named.items()}
    env |= {
        "TRIMTAB_DATA": str(tmp_path / "data"),
        "TRIMTAB_KAFKA": f"127.0.0.1:{nobody}",
        "TRIMTAB_REGISTRY_ADDRESS": f"127.0.0.1:{nobody}",
        "TRIMTAB_INTERACTION_ADDRESS": f"127.0.0.1:{nobody}",
        setting: str(taken),
    }
    process = started(service, env, tmp_path)
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
    # gRPC writes a line of its own, which is no JSON.
    said = (tmp_path / f"{service}.log").read_text().splitlines()
    last = [json.loads(line) for line in said if line.startswith("{")][-20:]
    assert ("critical", f"{service}: ending the process") in [
        (line["level"], line["message"]) for line in last
    ]
