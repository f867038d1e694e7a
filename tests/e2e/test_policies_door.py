"""Policies of two tenants, from the commands that make them to the turns that are stored: the lines that the
gateway's README tells to try. Real Kafka, registry, retrain, interaction and gateway; the model server is
scripted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.paths import REPO
from tests.e2e.policy_server import PolicyServer
from tests.e2e.store import Store
from tests.e2e.world import World, make_world

README = REPO / "services" / "gateway" / "README.md"
PARTS = ["kafka", "interaction", "retrain", "registry", "gateway"]
HELLO = [{"role": "user", "content": "My router does not start."}]


class Teams:
    def __init__(self, world: World) -> None:
        self.world = world
        self.http = httpx.Client(base_url=world.gateway_url, timeout=30.0, trust_env=False)

    def bash(self, lines: str) -> str:
        """What the lines print; the gateway is where they say GATEWAY:8080."""
        where = self.world.gateway_url.removeprefix("http://")
        env = {**os.environ, **self.world.env}
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", lines.replace("GATEWAY:8080", where)]
        ran = subprocess.run(
            command, env=env, cwd=REPO, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def ask(self, model: str, key: str = "local-dev-key", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO, "user": "ada", **more}
        headers = {"authorization": f"Bearer {key}"}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def models(self, key: str = "local-dev-key") -> list[str]:
        found = self.http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()
        return [one["id"] for one in found["data"]]


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    with PolicyServer() as model:
        folder = tmp_path_factory.mktemp("policies")
        world = make_world(folder, {"TRIMTAB_VLLM_URLS": model.url})
        try:
            world.stack.up(only=PARTS, timeout_s=150)
            yield Teams(world)
        finally:
            world.stack.discard()


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


@pytest.mark.timeout(420)
def test_each_team_has_policies_of_its_own_until_they_are_deleted(teams: Teams) -> None:
    made = teams.world.trimtab("policies", "create", "support", "--description", "help desk")
    assert (made["name"], made["champion_version"]) == (
        "tenants/local/policies/support",
        "support-v0",
    )
    sales = teams.world.trimtab("policies", "create", "sales", "--tenant", "acme")
    assert sales["name"] == "tenants/acme/policies/sales"
    until(lambda: teams.models() == ["assistant", "assistant-v0", "support", "support-v0"])
    made = teams.world.trimtab("keys", "create", "acme", "--role", "writer", "--tenant", "acme")
    key = made["secret"]
    until(lambda: teams.ask("sales", key).status_code == 200)
    assert teams.models(key) == ["assistant", "assistant-v0", "sales", "sales-v0"]
    _answered_and_stored(teams)
    _refused(teams, key)
    _deleted(teams)
    assert teams.ask("sales", key).json()["model"] == "sales-v0"


@pytest.mark.timeout(420)
def test_the_lines_of_the_readme(teams: Teams) -> None:
    section = README.read_text().split("## A policy for every team", 1)[1]
    lines = section.split("```", 2)[1]
    # A key and a policy are there a moment after they were made.
    first, _, rest = lines.partition("curl -s ")
    said = teams.bash(f"{first}sleep 5\ncurl -s {rest}")
    assert '{"id":"support","object":"model"' in said
    assert "x-trimtab-policy: support" in said
    assert '"model":"support-v0"' in said
    shown = teams.world.trimtab("policies", "show", "support", "--tenant", "acme")
    assert (shown["description"], shown["triggers"], shown["rollout"]) == (
        "help desk",
        {"volume_pairs": 200},
        {"canary_share": 0.1},
    )


def _answered_and_stored(teams: Teams) -> None:
    answer = teams.ask("support")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["model"], answer.headers["x-trimtab-policy"]) == ("support-v0", "support")
    store = Store(teams.world.env["TRIMTAB_INTERACTION_ADDRESS"], "local")
    turns = store.turns(answer.headers["x-trimtab-conversation"], at_least=2)
    store.close()
    assert [(turn.policy, turn.model_version) for turn in turns] == [
        ("support", ""),
        ("support", "support-v0"),
    ]


def _refused(teams: Teams, key: str) -> None:
    answer = teams.ask("support", key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert answer.json()["error"]["message"].endswith("assistant, assistant-v0, sales, sales-v0")
    for line, reason in (
        (("create", "support"), "POLICY_EXISTS"),
        (("create", "Support"), "INVALID_POLICY_ID"),
        (("create", "tutor", "--base-model", "nobody"), "NO_SUCH_BASE"),
        (("create", "tutor", "--alpha", "2"), "OUT_OF_RANGE"),
        (("update", "tenants/acme/policies/sales", "--beta", "1"), "TENANT_MISMATCH"),
        (("show", "tutor"), "POLICY_NOT_FOUND"),
        (("delete", "assistant", "--reason", "x", "--yes"), "ALWAYS_THERE"),
    ):
        assert teams.world.trimtab("policies", *line)["error"]["reason"] == reason
    listed = teams.world.trimtab("policies", "list")["policies"]
    assert [one["name"].rpartition("/")[2] for one in listed] == ["assistant", "support"]


def _deleted(teams: Teams) -> None:
    """For good: the gateway's file, which it starts with, says so too."""
    changed = teams.world.trimtab("policies", "update", "support", "--gate-win-rate", "0.6")
    assert changed["gate"]["win_rate"] == 0.6
    changed = teams.world.trimtab("policies", "update", "support", "--unset", "gate.win_rate")
    assert not changed.get("gate")
    gone = teams.world.trimtab("policies", "delete", "support", "--reason", "over", "--yes")
    assert any("answered with 404" in words for words in gone["words"])
    until(lambda: teams.ask("support").status_code == 404)
    file = Path(teams.world.env["TRIMTAB_DATA"]) / "gateway" / "rollout.json"
    kept = {
        (one["key"]["tenant"], one["key"]["policy"]): one["rollout"]
        for one in json.loads(file.read_text())["served"]
    }
    assert kept["local", "support"] is None
    assert kept["acme", "sales"]["champion"]["name"] == "sales-v0"
    again = teams.world.trimtab("policies", "create", "support")
    assert again["error"]["reason"] == "POLICY_NAME_USED"
