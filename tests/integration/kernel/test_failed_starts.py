"""A service that cannot start ends and says why, so that its supervisor starts it again: it does not wait for
ever with threads and no server."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
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


def ended(service: str, changed: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Its status, and what it wrote. Nobody that it would call is there."""
    nobody, *ports = free_ports(4)
    named = dict(zip(("PORT", "METRICS_PORT", "OTLP_PORT"), map(str, ports), strict=True))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    env |= {f"TRIMTAB_{service.upper()}_{name}": port for name, port in named.items()}
    env |= {
        "TRIMTAB_DATA": str(folder / "data"),
        "TRIMTAB_KAFKA": f"127.0.0.1:{nobody}",
        "TRIMTAB_REGISTRY_ADDRESS": f"127.0.0.1:{nobody}",
        "TRIMTAB_INTERACTION_ADDRESS": f"127.0.0.1:{nobody}",
        **changed,
    }
    process = started(service, env, folder)
    try:
        return process.wait(60), (folder / f"{service}.log").read_text()
    finally:
        process.kill()


@pytest.mark.parametrize("service", ["retrain", "gateway"])
@pytest.mark.parametrize("port", ["PORT", "METRICS_PORT"])
def test_a_service_whose_port_is_in_use_ends(
    service: str, port: str, taken: int, tmp_path: Path
) -> None:
    code, wrote = ended(service, {f"TRIMTAB_{service.upper()}_{port}": str(taken)}, tmp_path)
    assert code == 1
    # gRPC writes a line of its own, which is no JSON.
    lines = [json.loads(line) for line in wrote.splitlines() if line.startswith("{")]
    assert ("critical", f"{service}: ending the process") in [
        (line["level"], line["message"]) for line in lines
    ]


@pytest.mark.parametrize("service", ["retrain", "gateway"])
def test_a_wrong_setting_is_named_and_no_traceback_is_shown(service: str, tmp_path: Path) -> None:
    """One that only looking at files, or at other settings, reveals."""
    key = tmp_path / "key.pem"
    key.write_text("no key")
    files = {"TRIMTAB_TLS_CERT": str(key), "TRIMTAB_TLS_KEY": str(key)}
    code, wrote = ended(service, files, tmp_path)
    assert code == 2
    assert "settings: TRIMTAB_TLS_" in wrote and "Traceback" not in wrote
