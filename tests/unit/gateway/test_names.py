"""What an application calls somebody is the same somebody at every door."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.answers import Answer, answer_turns
from services.gateway.http_api.documents import read_feedback
from shared.access.quotas import Quotas
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, conversation_id_of, id_of, user_id_of
from shared.language.messages import text_message
from shared.language.turns import Turn
from tests.names import NAMES
from tests.unit.gateway.genai import MemorySink, a_linker, chat
from tests.unit.gateway.test_completions import stored

HELLO: Any = [{"role": "user", "content": "Hello"}]
SAID = [*NAMES, 12345, 2**64, 1.5]
BIG = [2**63, 2**64, 2**70, -(2**64)]


async def test_rest(gateway: Any) -> None:
    for said in SAID:
        for kept in (gateway.sink.turns, gateway.sink.feedback, gateway.sink.preferences):
            kept.clear()
        await rest(gateway, said)


async def rest(gateway: Any, said: Any) -> None:
    chats = {"conversations": [{"id": said, "user": said, "messages": HELLO}]}
    given = {"feedback": [{"conversation_id": said, "user": said, "value": True, "id": said}]}
    pair = {"user": said, "conversation_id": said, "prompt": "a", "chosen": "b", "rejected": "c"}
    for path, body in (
        ("conversations", chats),
        ("feedback", given),
        ("preferences", {"preferences": [pair]}),
    ):
        answer = await gateway.http.post(f"/v1/{path}", json=body)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1), answer.text
    (turn,) = gateway.sink.turns
    ((_, feedback),) = gateway.sink.feedback
    ((_, stated),) = gateway.sink.preferences
    for one in (turn, feedback, stated):
        assert one.user_id == user_id_of(said)
        assert one.conversation_id == conversation_id_of(said)
    assert feedback.feedback_id == id_of(said, "feedback")


@pytest.mark.parametrize("said", SAID)
async def test_spans(said: Any) -> None:
    held = chat(gen_ai__conversation__id=said, user__id=said, gen_ai__response__id=said)
    sink = MemorySink()
    telemetry = CustomerTelemetry(Ingesting(sink, Quotas(dict)), a_linker())
    assert (await telemetry.spans("local", [held])).refused == ()
    for turn in sink.turns:
        assert turn.user_id == user_id_of(said)
        assert turn.conversation_id == conversation_id_of(said)
    assert sink.turns[1].completion_id == completion_id_of(said)


async def test_bytes_of_a_header_are_the_same_name_as_in_a_body(gateway: Any) -> None:
    for name in NAMES:
        await by_header(gateway, name)
        gateway.sink.turns.clear()


async def by_header(gateway: Any, name: str) -> None:
    headers = {b"x-trimtab-user": name.encode(), b"x-trimtab-conversation": name.encode()}
    chat_body = {"model": "assistant", "messages": HELLO}
    answer = await gateway.http.post("/v1/chat/completions", json=chat_body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-trimtab-conversation"] == conversation_id_of(name)
    assert {turn.user_id for turn in await gateway.logged()} == {user_id_of(name)}


async def test_a_header_in_latin_1_is_read_as_such(gateway: Any) -> None:
    headers = {b"x-trimtab-user": "Jörg".encode("latin-1")}
    chat_body = {"model": "assistant", "messages": HELLO}
    await gateway.http.post("/v1/chat/completions", json=chat_body, headers=headers)
    assert {turn.user_id for turn in await gateway.logged()} == {user_id_of("Jörg")}


async def test_what_names_nobody_gives_way_to_what_does(gateway: Any) -> None:
    body = {"model": "assistant", "messages": HELLO, "user": "  ", "safety_identifier": "ada"}
    body["metadata"] = {"conversation_id": "c-1"}
    headers = {"x-trimtab-conversation": " "}
    answer = await gateway.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.headers["x-trimtab-conversation"] == "c-1"
    assert {turn.user_id for turn in await gateway.logged()} == {"ada"}


async def test_paths_take_names_percent_encoded(gateway: Any) -> None:
    for name in NAMES:
        await by_path(gateway, name)


async def by_path(gateway: Any, name: str) -> None:
    answer = await gateway.http.get(f"/v1/conversations/{quote(name, safe='')}/waiting")
    assert (answer.status_code, answer.json()) == (200, {"steps": []})
    gateway.completions.stored["local", name] = stored(name, text_message("assistant", "x"))
    path = f"/v1/chat/completions/{quote(name, safe='')}"
    assert (await gateway.http.get(path)).json()["id"] == name
    assert (await gateway.http.get(f"{path}/messages")).json()["data"] == []
    changed = await gateway.http.post(path, json={"metadata": {"a": "b"}})
    assert changed.json()["metadata"] == {"a": "b"}


@pytest.mark.parametrize("field", ["user", "conversation_id", "completion_id", "id", "turn_id"])
@pytest.mark.parametrize("wrong", [True, ["ada"], {"id": "ada"}])
def test_what_is_no_name_is_refused_with_its_field(field: str, wrong: object) -> None:
    document = {"conversation_id": "c", "value": True, field: wrong}
    with pytest.raises(InvalidArgument, match="must be text or a number") as refused:
        read_feedback(document)
    assert refused.value.field == field


def test_null_names_nothing() -> None:
    nothing = dict.fromkeys(("user", "completion_id", "id", "turn_id"))
    (given,) = read_feedback({"conversation_id": "c", "value": True, **nothing})
    assert (given.user_id, given.completion_id, given.feedback_id, given.turn_id) == ("",) * 4


@pytest.mark.parametrize("number", BIG)
async def test_integers_of_any_size_in_a_chat(gateway: Any, number: int) -> None:
    """They are sent on as they came, and logged."""
    body = {"model": "assistant", "messages": HELLO, "store": True, "max_tokens": number}
    body |= {"user": number, "metadata": {"conversation_id": number, "n": number}}
    body |= {"logit_bias": {"1": number}, "tools": [{"type": "function", "big": number}]}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-trimtab-conversation"] == conversation_id_of(number)
    (sent,) = gateway.model.bodies
    assert (sent["max_tokens"], sent["user"]) == (number, str(number))
    _, reply = await gateway.logged()
    assert reply.user_id == user_id_of(number)
    assert json.loads(reply.metadata["openai.request"])["max_tokens"] == number


def test_other_choices_name_the_completion_by_the_id_under_which_it_is_found() -> None:
    answer = Answer()
    choices = [{"index": n, "message": {"content": f"say {n}"}} for n in range(2)]
    answer.add({"id": "replica-1/chat 7", "choices": choices})
    first = Turn("local", "c", 1, text_message("assistant", ""), "ada")
    (_, said), (_, other) = answer_turns(answer, first, "")
    assert said.completion_id == completion_id_of("replica-1/chat 7")
    assert other.metadata["choice_of"] == said.completion_id
