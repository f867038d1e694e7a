"""A stack into which people talk by every door, and where their words are looked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import httpx
import pytest

from infra.local.environment import environment
from services.cli.adapters.grpc_platform import GrpcPlatform
from services.cli.app.platform import SERVICES
from services.cli.commands.session import OK
from services.cli.main import connect, run
from shared.configuration.settings import CommonSettings
from shared.language.identifiers import stable_id
from shared.serving.opening import open_event_log
from shared.vault.sealing import SEALED_WITH, SealedEventLog
from tests.e2e.policy_server import PolicyServer
from tests.e2e.search import places, raw_log
from tests.e2e.world import World, make_world

REPORTING = ("interaction", "gateway", "feedback", "reward", "evaluation", "drift", "retrain")
PARTS = ("kafka", *REPORTING)
OVERLAY = {
    # No reward model, which would judge what waits for one.
    "TRIMTAB_REWARD_MIN_USERS": "100",
    "TRIMTAB_KEYRING_TTL_S": "0.5",
    "TRIMTAB_FEEDBACK_PERSONA_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_PERSONA_COMPLAINT_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_UBR_SHARE": "0",
    "TRIMTAB_INTERACTION_ARCHIVE_EVERY_S": "1",
    "TRIMTAB_LOG_LEVEL": "WARNING",
}
# Where a user's words are found as long as they are there.
HELD = {
    "interaction/state.db",
    "archive",
    "retrain/snapshots",
    "feedback/state.db",
    "reward/state.db",
    "retrain/state.db",
}
TOPICS = {
    "topic interaction.logged.v1",
    "topic feedback.given.v1",
    "topic feedback.mined.v1",
    "topic preference.given.v1",
    "topic preference.proposed.v1",
    "topic preference.mined.v1",
}


@dataclass
class House:
    world: World
    platform: GrpcPlatform
    client: httpx.Client
    log: SealedEventLog

    @property
    def data(self) -> Path:
        return self.world.stack.settings.data

    def say(self, user: str, *texts: str) -> list[str]:
        """Through the proxy; the completions' ids. The body names the user, then a header, whose bytes are in
        Unicode's decomposed form."""
        completions, messages = [], []
        for number, text in enumerate(texts):
            messages.append({"role": "user", "content": text})
            body = {"model": "assistant", "messages": messages}
            header = {b"x-trimtab-user": normalize("NFD", user).encode()}
            named: Any = (body, header) if number % 2 else (body | {"user": user}, {})
            answer = self._post("/v1/chat/completions", *named)
            messages.append(answer["choices"][0]["message"])
            completions.append(answer["id"])
        return completions

    def tell(self, user: str, conversation: str, question: str, answer: str) -> None:
        """Over REST."""
        said = [("user", question), ("assistant", answer)]
        messages = [{"role": role, "content": text} for role, text in said]
        chat = {"id": conversation, "user": user, "messages": messages}
        assert self._post("/v1/conversations", {"conversations": [chat]})["turns"] == 2

    def trace(self, user: str, conversation: str, question: str, answer: str) -> None:
        """Over OpenTelemetry."""
        messages = {
            f"gen_ai.{side}.messages": json.dumps(
                [{"role": role, "parts": [{"type": "text", "content": text}]}]
            )
            for side, role, text in (("input", "user", question), ("output", "assistant", answer))
        }
        named = {"user.id": user, "gen_ai.conversation.id": conversation}
        attributes = [
            {"key": key, "value": {"stringValue": value}}
            for key, value in {"gen_ai.operation.name": "chat", **named, **messages}.items()
        ]
        number = stable_id(conversation, length=16)
        span = {"traceId": number * 2, "spanId": number, "attributes": attributes}
        export = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
        assert self._post("/v1/traces", export) == {}

    def feedback(self, **said: Any) -> None:
        self._post("/v1/feedback", {"feedback": [said]})

    def trimtab(self, capsys: pytest.CaptureFixture[str], *line: str) -> dict[str, Any]:
        """What the command line answers."""
        capsys.readouterr()
        assert run(["--json", *line, "--tenant", self.world.tenant], connect) == OK
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    def turns_of(self, user: str) -> int:
        found = self.platform.call(
            "interaction", "ListConversations", {"filter": f'user_id = "{user}"', "page_size": 100}
        )
        return sum(int(one["turn_count"]) for one in found["conversations"])

    def erasure(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.platform.call("interaction", "GetErasure", {"name": name})
        return dict(found["erasure"])

    def counts(self) -> dict[tuple[str, str, str], int]:
        """By stage, outcome and reason."""
        found = {}
        for part in REPORTING:
            if part != "gateway":
                answer = self.platform.call(part, "GetStageCounts", {})
                for one in answer["counts"]:
                    found[one["stage"], one["outcome"], one["reason"]] = int(one["count"])
        return found

    def found(self, *words: str) -> dict[str, set[str]]:
        """Where each of the words is read by the services themselves."""
        found = places(self.data, self.log, *words)
        return {word: {kind_of(one) for one in of} for word, of in found.items()}

    def seen(self, *words: str) -> set[str]:
        """Where any of the words is seen by somebody without the keys, who does see that there are
        sealed events on every topic."""
        log = raw_log(self.world.env)
        try:
            found = places(self.data, log, *words, SEALED_WITH)
        finally:
            log.close()
        assert found.pop(SEALED_WITH) >= TOPICS
        return set.union(*found.values())

    def _post(self, path: str, body: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        response = self.client.post(path, json=body, headers=headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    with PolicyServer() as policy:
        world = make_world(folder, OVERLAY | {"TRIMTAB_VLLM_URLS": policy.url})
        try:
            world.stack.up(PARTS)
            env = environment(world.stack.settings)
            common = CommonSettings(
                kafka=env["TRIMTAB_KAFKA"],
                TRIMTAB_KEYRING_URL=env["TRIMTAB_KEYRING_URL"],
                keyring_ttl_s=0.5,
            )
            addresses = {name: env[f"TRIMTAB_{name.upper()}_ADDRESS"] for name in SERVICES}
            headers = {"Authorization": f"Bearer {world.key}"}
            with httpx.Client(
                base_url=world.gateway_url, headers=headers, timeout=30, trust_env=False
            ) as client:
                yield House(
                    world, GrpcPlatform(addresses, world.tenant), client, open_event_log(common)
                )
        finally:
            world.stack.discard()


def kind_of(place: str) -> str:
    """What SQLite has in its write-ahead log is in its database; Parquet lies in folders by name."""
    for folder in ("archive", "retrain/snapshots"):
        if place.startswith(f"{folder}/"):
            return folder
    return place.removesuffix("-wal")


def eventually(look: Callable[[], object], wanted: object = True, limit_s: float = 40.0) -> None:
    deadline = time.monotonic() + limit_s
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} instead of {wanted} after {limit_s:.0f} s"
        time.sleep(0.3)
