"""Interaction and gateway as processes that require keys and speak TLS; Kafka is not needed for it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infra.local.paths import REPO
from infra.local.ports import free_ports
from tests.integration.access.processes import is_listening, started, until
from tests.unit.shared.certificates import Authority

TOKEN = "the-token-of-this-house"
pytestmark = pytest.mark.slow


@dataclass
class House:
    """Two services, and the variables that they and the command line share."""

    env: Mapping[str, str]
    http: httpx.Client

    def trimtab(self, *words: str, **env: str) -> tuple[int, Any, str]:
        """(exit code, document, standard error)"""
        command = [sys.executable, "-m", "services.cli.main", *words, "--json"]
        ran = subprocess.run(
            command,
            cwd=REPO,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return ran.returncode, json.loads(ran.stdout) if ran.stdout else None, ran.stderr

    def models(self, key: str) -> int:
        return self.http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    ours = Authority("house")
    cert, key = ours.issue("localhost")
    for name, text in (("cert.pem", cert), ("key.pem", key), ("ca.pem", ours.pem)):
        (folder / name).write_bytes(text)
    ports = dict(zip(("interaction", "gateway", "away"), free_ports(3), strict=True))
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")},
        "TRIMTAB_HOST": "localhost",
        "TRIMTAB_DATA": str(folder / "data"),
        "TRIMTAB_KAFKA": f"127.0.0.1:{ports['away']}",
        "TRIMTAB_KEYRING_URL": f"sqlite:///{folder}/keyring.db",
        "TRIMTAB_REQUIRE_KEYS": "true",
        "TRIMTAB_INTERNAL_TOKEN": TOKEN,
        "TRIMTAB_TLS_CERT": str(folder / "cert.pem"),
        "TRIMTAB_TLS_KEY": str(folder / "key.pem"),
        "TRIMTAB_TLS_CA": str(folder / "ca.pem"),
        "TRIMTAB_INTERACTION_ADDRESS": f"localhost:{ports['interaction']}",
        "TRIMTAB_INTERACTION_PORT": str(ports["interaction"]),
        "TRIMTAB_INTERACTION_METRICS_PORT": "0",
        "TRIMTAB_INTERACTION_DRAIN_S": "0.5",
        "TRIMTAB_INTERACTION_PUBLISH_TIMEOUT_S": "2",
        "TRIMTAB_INTERACTION_DATABASE_URL": f"sqlite:///{folder}/interaction.db",
        "TRIMTAB_GATEWAY_PORT": str(ports["gateway"]),
        "TRIMTAB_GATEWAY_METRICS_PORT": "0",
        "TRIMTAB_GATEWAY_OTLP_PORT": "0",
        "TRIMTAB_GATEWAY_DATABASE_URL": f"sqlite:///{folder}/gateway.db",
        "TRIMTAB_REGISTRY_ADDRESS": f"localhost:{ports['away']}",
    }
    processes = [started(name, env, folder) for name in ("interaction", "gateway")]
    trusted = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    url = f"https://localhost:{ports['gateway']}"
    with httpx.Client(base_url=url, verify=trusted, trust_env=False) as http:
        try:
            until(lambda: _is_up(http) and is_listening(ports["interaction"]))
            yield House(env, http)
        finally:
            # Asked to end they would wait for a Kafka that never comes.
            for process in processes:
                process.kill()
                process.wait()


def _is_up(http: httpx.Client) -> bool:
    """False as long as nobody listens; every other error is raised."""
    try:
        return http.get("/healthz").status_code == httpx.codes.OK
    except httpx.ConnectError as error:
        if isinstance(_root(error), ConnectionRefusedError):
            return False
        raise


def _root(error: BaseException) -> BaseException:
    """What it all began with: httpx tells a wrong certificate and a closed port with one class."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def test_a_key_opens_the_doors_until_it_is_revoked(house: House) -> None:
    _, made, trouble = house.trimtab(
        "keys", "create", "web", "--role", "writer", "--tenant", "acme"
    )
    assert made is not None, trouble
    secret = made["secret"]
    until(lambda: house.models(secret) == 200)
    turn = {
        "conversations": [{"id": "c", "user": "u", "messages": [{"role": "user", "content": "x"}]}]
    }
    headers = {"authorization": f"Bearer {secret}"}
    away = house.http.post("/v1/conversations", json=turn, headers=headers, timeout=30)
    assert away.status_code in (503, 504)  # Kafka is away: the key was let in
    code, _, _ = house.trimtab("keys", "revoke", made["key"]["name"], "--tenant", "acme")
    assert code == 0
    until(lambda: house.models(secret) == 401)


def test_grpc_asks_for_a_key_with_the_role_of_the_method(house: House) -> None:
    words = ("keys", "create", "app", "--role", "reader", "--tenant", "acme")
    _, made, _ = house.trimtab(*words)
    reader = {"TRIMTAB_INTERNAL_TOKEN": "", "TRIMTAB_KEY": made["secret"]}
    code, listed, _ = house.trimtab("conversations", "list", "--tenant", "acme", **reader)
    assert (code, listed) == (0, {"conversations": []})
    code, _, trouble = house.trimtab("keys", "list", "--tenant", "acme", **reader)
    assert code == 1 and "ROLE_MISSING" in trouble
    code, _, trouble = house.trimtab("conversations", "list", "--tenant", "other", **reader)
    assert code == 1 and "TENANT_MISMATCH" in trouble
    nobody = {"TRIMTAB_INTERNAL_TOKEN": "", "TRIMTAB_KEY": ""}
    code, _, trouble = house.trimtab("conversations", "list", **nobody)
    assert code == 1 and "MISSING_API_KEY" in trouble


def test_a_trace_says_why_the_gateway_has_no_part_in_it(house: House) -> None:
    _, made, _ = house.trimtab("keys", "create", "t", "--role", "reader", "--tenant", "acme")
    words = ("conversations", "trace", "c", "--tenant", "acme")
    env = {"TRIMTAB_GATEWAY_URL": str(house.http.base_url), "TRIMTAB_KEY": "tt-nobody-has-it"}
    _, refused, trouble = house.trimtab(*words, **env)
    assert refused is not None, trouble
    assert "refuses the key: set TRIMTAB_KEY" in refused["away"]["gateway"]
    _, known, trouble = house.trimtab(*words, **{**env, "TRIMTAB_KEY": made["secret"]})
    assert known is not None, trouble
    assert "gateway" not in known["away"]


def test_in_the_clear_nobody_gets_through(house: House) -> None:
    plain = str(house.http.base_url).replace("https", "http", 1)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{plain}/healthz", trust_env=False)
    code, _, _ = house.trimtab("conversations", "list", TRIMTAB_TLS_CA="")
    assert code == 4
