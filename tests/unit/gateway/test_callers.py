"""Who is asking, and in which conversation: every way to say so, and names that cannot be ids."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.gateway.domain.rollout import Rollout, Version
from services.gateway.settings import GatewaySettings

HELLO: Any = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "assistant", "messages": HELLO}
OPEN_WEBUI, LITELLM, OURS = "X-OpenWebUI-User-Id", "x-litellm-end-user-id", "x-trimtab-user"
# Every way to name somebody, the strongest first.
WAYS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"user": "u0"}, {}),
    ({"safety_identifier": "u1"}, {}),
    ({}, {OURS: "u2"}),
    ({}, {OPEN_WEBUI: "u3"}),
    ({}, {LITELLM: "u4"}),
]


class AskedPersonas:
    """Knows nothing of anybody, and remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def of(self, tenant: str, user_id: str) -> str:
        self.asked.append((tenant, user_id))
        return ""


@pytest.fixture
def personas() -> AskedPersonas:
    return AskedPersonas()


@pytest.fixture
async def gateway(
    start_gateway: Callable[..., Any], tmp_path: Path, personas: AskedPersonas
) -> AsyncIterator[Any]:
    headers = GatewaySettings().headers_of_users
    async with start_gateway(
        tmp_path / "spool", user_headers=headers, personas=personas
    ) as running:
        yield running


async def asked(gateway: Any, body: dict[str, Any], headers: dict[str, str]) -> Any:
    answer = await gateway.http.post("/v1/chat/completions", json={**CHAT, **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def user_of(gateway: Any, body: dict[str, Any], headers: dict[str, str]) -> str:
    await asked(gateway, body, headers)
    question, answer = (await gateway.logged())[-2:]
    assert question.user_id == answer.user_id
    return str(question.user_id)


@pytest.mark.parametrize("strongest", range(len(WAYS)))
async def test_the_first_that_names_somebody_counts(gateway: Any, strongest: int) -> None:
    body: dict[str, Any] = {}
    headers: dict[str, str] = {}
    for more, carried in WAYS[strongest:]:
        body |= more
        headers |= carried
    assert await user_of(gateway, body, headers) == f"u{strongest}"


async def test_the_official_client_names_them_by_safety_identifier(gateway: Any) -> None:
    await gateway.openai.chat.completions.create(
        model="assistant", messages=HELLO, safety_identifier="ada", prompt_cache_key="page-1"
    )
    question, _ = await gateway.logged()
    assert question.user_id == "ada"
    sent = gateway.model.bodies[0]
    assert (sent["safety_identifier"], sent["prompt_cache_key"]) == ("ada", "page-1")
    assert "user" not in sent


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"prompt_cache_key": "ada"}, {}),
        ({"metadata": {"user_id": "ada"}}, {}),
        ({}, {"X-OpenWebUI-User-Email": "ada@example.org"}),
        ({"user": None, "safety_identifier": ""}, {OPEN_WEBUI: ""}),
        ({"user": True}, {}),
        ({"user": {"id": "ada"}, "safety_identifier": ["ada"]}, {}),
    ],
)
async def test_what_names_nobody_leaves_them_anonymous(
    gateway: Any, personas: AskedPersonas, body: dict[str, Any], headers: dict[str, str]
) -> None:
    assert (await user_of(gateway, body, headers)).startswith("anonymous-")
    assert personas.asked == []


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize(
    ("said", "user"),
    [
        ("auth0|5f7c", "user-4f5a68bcc23cf853525d2d4b"),
        ("a b", "user-5661c0af306771b3d7e57296"),
        ("ada@example.org", "ada@example.org"),
    ],
)
async def test_a_name_that_cannot_be_an_id_is_hashed_alike_everywhere(
    gateway: Any, personas: AskedPersonas, way: int, said: str, user: str
) -> None:
    body, headers = WAYS[way]
    named = (dict.fromkeys(body, said), dict.fromkeys(headers, said))
    assert await user_of(gateway, *named) == user
    assert personas.asked == [("local", user)]


@pytest.mark.parametrize(
    ("said", "user"),
    [(12345, "12345"), (0, "0"), (1.5, "1.5"), (-7, "-7"), (10**30, "1" + "0" * 30)],
)
async def test_a_number_becomes_its_digits(gateway: Any, said: float, user: str) -> None:
    # The model server gets the text, too: vLLM refuses a user that is no string.
    assert await user_of(gateway, {"user": said, "store": True}, {}) == user
    assert gateway.model.bodies[0]["user"] == user
    _, answer = await gateway.logged()
    assert json.loads(answer.metadata["openai.request"]) == {"user": user}


async def test_a_user_that_is_no_name_is_not_sent_on(gateway: Any) -> None:
    await asked(gateway, {"user": {"id": "ada"}, "safety_identifier": 7}, {})
    (sent,) = gateway.model.bodies
    assert ("user" in sent, sent["safety_identifier"]) == (False, 7)


@pytest.mark.parametrize(
    ("said", "conversation"),
    [
        ("thread/42", "conversation-50b37e1f11c06f9a7f47b6f3"),
        ("thread-42", "thread-42"),
        (42, "42"),
    ],
)
async def test_a_conversation_may_have_any_name(gateway: Any, said: Any, conversation: str) -> None:
    answers = [await asked(gateway, {"metadata": {"conversation_id": said}, "user": "ada"}, {})]
    answers.append(await asked(gateway, {}, {"x-trimtab-conversation": str(said), OURS: "ada"}))
    assert [one.headers["x-trimtab-conversation"] for one in answers] == [conversation] * 2
    turns = await gateway.logged()
    assert {turn.conversation_id for turn in turns} == {conversation}
    if isinstance(said, str):
        assert turns[0].metadata == {"conversation_id": said}


@pytest.mark.parametrize("said", [True, ["a"], {"id": "a"}, "", None])
async def test_what_names_no_conversation_leaves_it_unnamed(gateway: Any, said: Any) -> None:
    answer = await asked(gateway, {"metadata": {"conversation_id": said}}, {})
    assert answer.headers["x-trimtab-conversation"].startswith("chat-")


async def test_a_rollout_is_sticky_however_the_user_is_named(gateway: Any) -> None:
    champion, canary = Version("assistant-v1", "v1"), Version("assistant-v2", "v2")
    gateway.serve(Rollout(1, champion, canary, 0.5))
    for user in ("ada", "eve", "bob", "auth0|5f7c"):
        served = set()
        for body, headers in WAYS:
            named = (dict.fromkeys(body, user), dict.fromkeys(headers, user))
            served.add((await asked(gateway, *named)).headers["x-trimtab-version"])
        assert len(served) == 1, user


def test_the_headers_that_are_read_are_a_setting() -> None:
    assert GatewaySettings().headers_of_users == ("x-openwebui-user-id", "x-litellm-end-user-id")
    assert GatewaySettings(user_headers="").headers_of_users == ()
    assert GatewaySettings(user_headers="X-User-ID, x-a").headers_of_users == ("x-user-id", "x-a")
