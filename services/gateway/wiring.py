"""The doors of the gateway: HTTP, and OTLP over gRPC."""

from __future__ import annotations

import ssl

from starlette.types import ASGIApp

from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.grpc_api import mounts
from services.gateway.settings import GatewaySettings
from shared.calls.server import RpcServer
from shared.configuration.settings import CommonSettings
from shared.configuration.tls import load_tls, with_client_ca
from shared.serving.http_server import HttpServer
from shared.serving.process import Server

# How long an idle connection is kept, in seconds: more than the 60 s of load balancers, so that they close
# first and no request of theirs arrives on a connection that is being closed.
_KEPT_S = 75


def http_server(
    application: ASGIApp, common: CommonSettings, settings: GatewaySettings
) -> HttpServer:
    client_ca = settings.tls_client_ca
    return HttpServer(
        application,
        host=common.host,
        port=settings.port,
        drain_s=settings.drain_s,
        lifespan="on",
        http="httptools",
        timeout_keep_alive=_KEPT_S,
        proxy_headers=False,
        ssl_certfile=common.tls_cert,
        ssl_keyfile=common.tls_key,
        ssl_ca_certs=str(client_ca) if client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )


def otlp_servers(
    authenticator: KeyAuthenticator,
    telemetry: CustomerTelemetry,
    common: CommonSettings,
    settings: GatewaySettings,
) -> list[Server]:
    """OTLP over gRPC, if it is switched on. Its callers have API keys and are not trusted internal callers."""
    tls = with_client_ca(load_tls(common), "TRIMTAB_GATEWAY_TLS_CLIENT_CA", settings.tls_client_ca)
    if not settings.otlp_port:
        return []
    server = RpcServer(
        "gateway",
        mounts(authenticator, telemetry),
        host=common.host,
        port=settings.otlp_port,
        call_timeout_s=settings.call_timeout_s,
        drain_s=settings.drain_s,
        max_message_mb=settings.max_body_mb,
        credentials=tls.server(),
    )
    return [server]
