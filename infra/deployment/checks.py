"""Whether a deployment works: every service says SERVING, and a chat through the gateway is answered."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.calls.client import calling_of, channel
from shared.configuration.settings import CommonSettings

SERVICES = ("interaction", "feedback", "reward", "evaluation", "drift", "retrain", "registry")
_TIMEOUT_S, _CHAT_S = 5.0, 120.0


class CheckSettings(BaseSettings):
    """TRIMTAB_<FIELD>, beside those of every service."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", frozen=True, extra="ignore")

    dashboard_url: str = "http://127.0.0.1:8090"
    # The gateway's own API keys; without one no chat is tried.
    gateway_keys: dict[str, str] = Field(default_factory=dict)


class Unhealthy(Exception):
    """Something does not work; the message has a line for each part."""


def check(common: CommonSettings, settings: CheckSettings) -> list[str]:
    """A line for each part. Raises Unhealthy if any part does not work."""
    asked: dict[str, Callable[[], str]] = {
        "gateway": partial(_healthy, f"{common.gateway_url}/healthz", common),
        "dashboard": partial(_healthy, f"{settings.dashboard_url}/healthz", common),
    }
    for name in SERVICES:
        asked[name] = partial(_serving, str(getattr(common, f"{name}_address")), common)
    if settings.gateway_keys:
        asked["chat"] = partial(_chat, common, next(iter(settings.gateway_keys)))
    lines, failed = [], False
    for name, ask in asked.items():
        try:
            lines.append(f"{name}: {ask()}")
        except (httpx.HTTPError, grpc.RpcError, ValueError) as error:
            failed = True
            lines.append(f"{name}: DOWN: {_words(error)}")
    if failed:
        raise Unhealthy("\n".join(["some parts do not work", *lines]))
    return lines


def _healthy(url: str, common: CommonSettings) -> str:
    httpx.get(url, timeout=_TIMEOUT_S, verify=_trusted(common)).raise_for_status()
    return "up"


def _serving(address: str, common: CommonSettings) -> str:
    with channel(address, calling_of(common)) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise ValueError(f"{address} is not serving")
    return "up"


def _chat(common: CommonSettings, key: str) -> str:
    """It is not stored: what a test says is nobody's feedback."""
    response = httpx.post(
        f"{common.gateway_url}/v1/chat/completions",
        headers={"authorization": f"Bearer {key}", "x-trimtab-user": "deployment-check"},
        json={
            "model": "assistant",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            "store": False,
        },
        timeout=_CHAT_S,
        verify=_trusted(common),
    )
    response.raise_for_status()
    return f"answered by {response.json()['model']}"


def _trusted(common: CommonSettings) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=str(common.tls_ca)) if common.tls_ca else True


def _words(error: Exception) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error} {error.response.text[:200]}"
    return str(error) or type(error).__name__
