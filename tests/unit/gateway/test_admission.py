"""What the doors ask of a key, and what never gets to the disk."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest

from shared.language.keys import LiveKey, Quota, new_secret, secret_digest

ASKED = [{"role": "user", "content": "My key is AKIAIOSFODNN7EXAMPLE, is it right?"}]
CONVERSATION = {
    "id": "c",
    "user": "ada",
    "messages": [{"role": "user", "content": str(place)} for place in range(6)],
}


def grant(gateway: Any, *roles: str, **fields: Any) -> dict[str, str]:
    """The headers of a new key."""
    secret = new_secret()
    key = LiveKey(secret_digest(secret), "local", secret[-6:], frozenset(roles), **fields)
    gateway.keys.put([key], gateway.keys.quotas)
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    ("roles", "path", "status"),
    [
        (("writer",), "/v1/conversations", 200),
        (("admin",), "/v1/conversations", 200),
        (("reader", "operator"), "/v1/conversations", 403),
        (("reader",), "/v1/chat/completions", 403),
        (("operator",), "/v1/feedback", 403),
    ],
)
async def test_writing_needs_a_writers_key(
    gateway: Any, roles: tuple[str, ...], path: str, status: int
) -> None:
    answer = await gateway.http.post(
        path, json={"conversations": [CONVERSATION]}, headers=grant(gateway, *roles)
    )
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "role_missing"


async def test_a_reader_may_see_the_models_and_an_expired_key_nothing(gateway: Any) -> None:
    assert (
        await gateway.http.get("/v1/models", headers=grant(gateway, "reader"))
    ).status_code == 200
    old = grant(gateway, "reader", expire_time=gateway.keys.clock() - timedelta(seconds=1))
    answer = await gateway.http.get("/v1/models", headers=old)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "expired_api_key")


async def test_past_its_quota_a_tenant_is_told_when_to_come_back_and_another_is_not_held_up(
    gateway: Any,
) -> None:
    gateway.keys.put((), {"local": Quota(requests_per_s=0.2, burst_s=5), "other": Quota(1000)})
    assert (await gateway.http.get("/v1/models")).status_code == 200
    late = await gateway.http.get("/v1/models")
    assert late.status_code == 429
    assert late.json()["error"]["code"] == "quota_requests"
    assert int(late.headers["retry-after"]) == 5
    with pytest.raises(openai.RateLimitError):
        await gateway.openai.chat.completions.create(model="assistant", messages=ASKED)
    other = {"authorization": "Bearer key-b"}
    assert (await gateway.http.get("/v1/models", headers=other)).status_code == 200


async def test_turns_have_a_quota_of_their_own(gateway: Any) -> None:
    gateway.keys.put((), {"local": Quota(turns_per_s=2, burst_s=3)})
    batch = {"conversations": [CONVERSATION]}
    assert (await gateway.http.post("/v1/conversations", json=batch)).status_code == 200
    late = await gateway.http.post("/v1/conversations", json=batch)
    assert (late.status_code, late.json()["error"]["code"]) == (429, "quota_turns")
    assert len(gateway.sink.turns) == 6


async def test_a_secret_is_answered_and_never_written(gateway: Any, tmp_path: Path) -> None:
    gateway.sink.away = True  # so that what is spooled can be looked at
    await gateway.openai.chat.completions.create(model="assistant", messages=ASKED, user="ada")
    assert gateway.model.bodies[0]["messages"] == ASKED
    written = await asyncio.to_thread(_written, tmp_path)
    gateway.sink.away = False
    asked, _ = await gateway.logged()
    assert asked.message.text == "My key is [SECRET], is it right?"
    assert asked.metadata["redacted"] == "SECRET=1"
    assert b"[SECRET]" in written
    assert b"AKIAIOSFODNN7" not in written


async def test_a_chat_that_goes_on_is_linked_though_its_history_was_redacted(gateway: Any) -> None:
    first = await gateway.openai.chat.completions.create(
        model="assistant", messages=ASKED, user="ada"
    )
    history = [*ASKED, {"role": "assistant", "content": first.choices[0].message.content}]
    await gateway.openai.chat.completions.create(
        model="assistant", messages=[*history, {"role": "user", "content": "Thanks"}], user="ada"
    )
    turns = await gateway.logged()
    assert len({turn.conversation_id for turn in turns}) == 1
    assert [turn.index for turn in turns] == [0, 1, 2, 3]


async def test_what_waits_in_the_spool_can_be_asked_for_by_its_own_tenant(
    gateway: Any, eventually: Any
) -> None:
    gateway.sink.away = True
    answer = await gateway.openai.chat.completions.with_raw_response.create(
        model="assistant", messages=ASKED, user="ada"
    )
    path = f"/v1/conversations/{answer.headers['x-trimtab-conversation']}/waiting"
    await eventually(lambda: bool(gateway.recorder.away))
    steps = (await gateway.http.get(path)).json()["steps"]
    assert [(step["detail"], step["reason"]) for step in steps] == [
        ("user at 0", "INTERACTION_AWAY"),
        ("assistant at 1", "INTERACTION_AWAY"),
    ]
    assert all(step["turn_id"] and step["outcome"] == "waiting" for step in steps)
    other = await gateway.http.get(path, headers={"authorization": "Bearer key-b"})
    assert other.json() == {"steps": []}
    gateway.sink.away = False
    await eventually(lambda: gateway.recorder.pending == 0)
    assert (await gateway.http.get(path)).json() == {"steps": []}


def _written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
