"""A gateway that asks its callers for certificates, at both of its doors."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from infra.local.ports import free_ports
from tests.integration.access.processes import started, until
from tests.unit.shared.certificates import Authority

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Gateway:
    """Its two doors, the authority that signed its own certificate, and what callers may show."""

    http: str
    otlp: str
    ca: bytes
    welcome: tuple[bytes, bytes]
    stranger: tuple[bytes, bytes]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    ours, callers = Authority("house"), Authority("callers")
    cert, key = ours.issue("localhost")
    files = {"cert.pem": cert, "key.pem": key, "ca.pem": ours.pem, "callers.pem": callers.pem}
    for name, text in files.items():
        (folder / name).write_bytes(text)
    http, otlp, away = free_ports(3)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")},
        "TRIMTAB_HOST": "localhost",
        "TRIMTAB_DATA": str(folder / "data"),
        "TRIMTAB_KAFKA": f"127.0.0.1:{away}",
        "TRIMTAB_TLS_CERT": str(folder / "cert.pem"),
        "TRIMTAB_TLS_KEY": str(folder / "key.pem"),
        "TRIMTAB_TLS_CA": str(folder / "ca.pem"),
        "TRIMTAB_GATEWAY_TLS_CLIENT_CA": str(folder / "callers.pem"),
        "TRIMTAB_INTERACTION_ADDRESS": f"localhost:{away}",
        "TRIMTAB_REGISTRY_ADDRESS": f"localhost:{away}",
        "TRIMTAB_GATEWAY_PORT": str(http),
        "TRIMTAB_GATEWAY_METRICS_PORT": "0",
        "TRIMTAB_GATEWAY_OTLP_PORT": str(otlp),
        "TRIMTAB_GATEWAY_DATABASE_URL": f"sqlite:///{folder}/gateway.db",
    }
    process = started("gateway", env, folder)
    made = Gateway(
        http=f"https://localhost:{http}",
        otlp=f"localhost:{otlp}",
        ca=ours.pem,
        welcome=callers.issue("app"),
        stranger=Authority("elsewhere").issue("app"),
    )
    try:
        until(lambda: _health(made, made.welcome, folder) == 200)
        yield made
    finally:
        process.kill()
        process.wait()


def _health(gateway: Gateway, shown: tuple[bytes, bytes] | None, folder: Path) -> int:
    """The status, or 0: nobody listens, or the caller was sent away."""
    context = ssl.create_default_context(cadata=gateway.ca.decode())
    if shown:
        (folder / "shown.pem").write_bytes(b"".join(shown))
        context.load_cert_chain(folder / "shown.pem")
    try:
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.get(f"{gateway.http}/healthz").status_code
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


def _export(gateway: Gateway, shown: tuple[bytes, bytes] | None) -> grpc.StatusCode:
    """What a span without a key is told."""
    cert, key = shown or (None, None)
    credentials = grpc.ssl_channel_credentials(gateway.ca, key, cert)
    with grpc.secure_channel(gateway.otlp, credentials) as channel:
        request = trace_service_pb2.ExportTraceServiceRequest()
        with pytest.raises(grpc.RpcError) as told:
            TraceServiceStub(channel).Export(request, timeout=10)
        return told.value.code()


def test_https_lets_in_who_shows_the_right_certificate(gateway: Gateway, tmp_path: Path) -> None:
    assert _health(gateway, gateway.welcome, tmp_path) == 200
    assert _health(gateway, gateway.stranger, tmp_path) == 0
    assert _health(gateway, None, tmp_path) == 0


def test_otlp_asks_for_the_certificate_and_then_for_a_key(gateway: Gateway) -> None:
    assert _export(gateway, gateway.welcome) is grpc.StatusCode.UNAUTHENTICATED
    assert _export(gateway, gateway.stranger) is grpc.StatusCode.UNAVAILABLE
    assert _export(gateway, None) is grpc.StatusCode.UNAVAILABLE
