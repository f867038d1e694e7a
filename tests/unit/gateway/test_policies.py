"""Two tenants with policies of their own on one gateway."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import openai
import pytest

from services.gateway.domain.chat import Chat, asked_turns
from services.gateway.domain.linking import Link
from services.gateway.domain.placing import CallPosition
from services.gateway.domain.rollout import Rollout, Version
from shared.language.messages import text_message

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HELLO: Any = [{"role": "user", "content": "Hello"}]
SUPPORT_1, SUPPORT_2 = (
    Version("support-v1", "local.support-v1"),
    Version("support-v2", "local.support-v2"),
)
THEIRS = Version("support-v7", "other.support-v7")
SALES = Version("sales-v1", "other.sales-v1")


@pytest.fixture(autouse=True)
def _policies(gateway: Any) -> None:
    gateway.serve(Rollout(1, SUPPORT_2, others=(SUPPORT_1,)), "support")
    gateway.serve(Rollout(1, THEIRS), "support", tenant="other")
    gateway.serve(Rollout(1, SALES), "sales", tenant="other")


async def asked(gateway: Any, model: str, key: str = "key-a", **more: Any) -> Any:
    body = {"model": model, "messages": HELLO, "user": "ada", **more}
    headers = {"authorization": f"Bearer {key}"}
    return await gateway.http.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize(
    ("key", "model", "policy", "version", "served_name"),
    [
        ("key-a", "support", "support", "support-v2", "local.support-v2"),
        ("key-a", "support-v1", "support", "support-v1", "local.support-v1"),
        ("key-a", "assistant", "assistant", "assistant-v0", "base"),
        ("key-a", "assistant-v0", "assistant", "assistant-v0", "base"),
        ("key-b", "support", "support", "support-v7", "other.support-v7"),
        ("key-b", "sales", "sales", "sales-v1", "other.sales-v1"),
    ],
)
async def test_a_model_names_a_policy_of_the_callers_tenant_or_a_version_of_one(
    gateway: Any, key: str, model: str, policy: str, version: str, served_name: str
) -> None:
    answer = await asked(gateway, model, key)
    assert answer.json()["model"] == version
    assert answer.headers["x-trimtab-version"] == version
    assert answer.headers["x-trimtab-policy"] == policy
    assert gateway.model.bodies[0]["model"] == served_name
    turns = await gateway.logged()
    assert [(turn.message.role, turn.policy, turn.model_version) for turn in turns] == [
        ("user", policy, ""),
        ("assistant", policy, version),
    ]


async def test_a_stream_says_the_version_too(gateway: Any) -> None:
    stream = await gateway.openai.chat.completions.with_raw_response.create(
        model="support", messages=HELLO, stream=True, user="ada"
    )
    assert stream.headers["x-trimtab-policy"] == "support"
    assert {chunk.model async for chunk in stream.parse()} == {"support-v2"}
    assert {turn.policy for turn in await gateway.logged()} == {"support"}


async def test_the_same_first_words_to_two_policies_are_two_chats(gateway: Any) -> None:
    names = [
        (await asked(gateway, model)).headers["x-trimtab-conversation"]
        for model in ("support", "assistant", "support-v2", "assistant-v0")
    ]
    assert len(set(names)) == 2
    assert (names[2], names[3]) == (names[0], names[1])  # asked for another answer of each


async def test_a_chat_may_go_on_with_another_policy(gateway: Any) -> None:
    first = await asked(gateway, "assistant")
    said = first.json()["choices"][0]["message"]
    more = [*HELLO, {"role": "assistant", "content": said["content"]}, HELLO[0]]
    second = await asked(gateway, "support", messages=more)
    conversation = "x-trimtab-conversation"
    assert second.headers[conversation] == first.headers[conversation]
    turns = await gateway.logged()
    assert [(turn.index, turn.policy) for turn in turns] == [
        (0, "assistant"),
        (1, "assistant"),
        (2, "support"),
        (3, "support"),
    ]


def test_an_earlier_answer_told_again_stays_of_its_own_policy() -> None:
    texts = ("Hello", "Hi!", "And now?", "Well.", "Thanks")
    messages = tuple(
        text_message("user" if n % 2 == 0 else "assistant", t) for n, t in enumerate(texts)
    )
    chat = Chat("local", "digest", "ada", "", messages, {})
    made = Link("local", "h", "a", "", "c", "q", "t", NOW, model_version="assistant-v3")
    position = CallPosition(answered={1: made, 3: replace(made, model_version="gpt-4o")})
    turns = asked_turns(chat, "c-2", position, channel="test", time=NOW, policy="support")
    assert [(turn.policy, turn.model_version) for turn in turns] == [
        ("support", ""),
        ("assistant", "assistant-v3"),
        ("support", ""),
        ("support", "gpt-4o"),
        ("support", ""),
    ]


@pytest.mark.parametrize("model", ["sales", "sales-v1", "support-v7", "other.support-v7", "gpt-4o"])
async def test_what_the_tenant_does_not_have_is_not_there(gateway: Any, model: str) -> None:
    answer = await asked(gateway, model)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"].endswith(
        "use one of: assistant, assistant-v0, support, support-v2, support-v1"
    )
    assert gateway.model.bodies == []
    with pytest.raises(openai.NotFoundError):
        await gateway.openai.models.retrieve(model)


async def test_an_error_does_not_list_hundreds_of_names(gateway: Any) -> None:
    many = tuple(Version(f"support-v{n}", "") for n in range(2, 60))
    gateway.serve(Rollout(2, SUPPORT_1, others=many), "support")
    message = (await asked(gateway, "nobody")).json()["error"]["message"]
    assert message.endswith("support-v17, and 42 more, see /v1/models")


async def test_models_are_those_of_the_tenant(gateway: Any) -> None:
    mine = ["assistant", "assistant-v0", "support", "support-v2", "support-v1"]
    assert [model.id async for model in gateway.openai.models.list()] == mine
    assert (await gateway.openai.models.retrieve("support-v1")).id == "support-v1"
    others = await gateway.http.get("/v1/models", headers={"authorization": "Bearer key-b"})
    ids = [model["id"] for model in others.json()["data"]]
    assert ids == ["assistant", "assistant-v0", "sales", "sales-v1", "support", "support-v7"]


@pytest.mark.parametrize("said", [{}, {"policy": ""}, {"policy": "not-made-yet"}])
async def test_what_is_sent_in_batches_says_its_policy(gateway: Any, said: dict[str, str]) -> None:
    """Which policies there are is the registry's to know."""
    talk = {"user": "ada", "messages": [*HELLO, {"role": "assistant", "content": "Hi"}], **said}
    vote = {"user": "ada", "prompt": "Hi", "chosen": "Hello", "rejected": "What?", **said}
    for name, item in (("conversations", talk), ("preferences", vote)):
        answer = await gateway.http.post(f"/v1/{name}", json={name: [item]})
        assert answer.status_code == 200, answer.text
    policy = said.get("policy", "")
    assert [turn.policy for turn in gateway.sink.turns] == [policy, policy]
    assert [pair.policy for _, pair in gateway.sink.preferences] == [policy]


async def test_what_cannot_be_a_policy_is_refused(gateway: Any) -> None:
    talk, vote = (
        {"user": "ada", "messages": HELLO},
        {"user": "ada", "prompt": "Hi", "chosen": "Hello", "rejected": "What?"},
    )
    for name, item in (("conversations", talk), ("preferences", vote)):
        wrong = [{**item, "policy": "Support"}, {**item, "policy": "support-v1"}, item]
        answer = await gateway.http.post(f"/v1/{name}", json={name: wrong})
        assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
        refused = [(r["position"], r["reason"], r["field"]) for r in answer.json()["refused"]]
        assert refused == [(n, "INVALID_POLICY_ID", "policy") for n in range(2)]


async def test_the_status_counts_and_names_nobody(gateway: Any) -> None:
    answer = await gateway.http.get("/v1/status", headers={"authorization": ""})
    assert answer.json()["rollout"] == {
        "source": "registry",
        "connected": True,
        "policies": 3,
        "tenants": 2,
        "canaries": 0,
        "refused": 0,
    }
