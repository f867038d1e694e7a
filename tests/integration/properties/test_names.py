"""Whatever an application calls a user or a conversation, it is the same one at every door."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.trace.v1 import trace_pb2
from starlette.datastructures import Headers

from services.cli.commands.named import conversation_named, user_named
from services.cli.domain.formats import FORMATS
from services.gateway.codec.anthropic import requests as anthropic
from services.gateway.codec.responses import requests as responses
from services.gateway.domain.chat import read_chat
from shared.calls.client import metadata
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from shared.language.identifiers import conversation_id_of, is_segment, parse_name, user_id_of
from shared.language.paging import parse_filter
from tests.integration.properties.doors import MANY, Doors
from tests.integration.properties.items import TIME, conversation, feedback, preference
from tests.integration.properties.test_items_over_grpc import pair, turn
from tests.names import NAMES

# Texts as JSON may have them, halves of surrogate pairs included; and numbers.
TEXTS = st.text(st.characters(exclude_categories=()), min_size=1, max_size=30) | st.sampled_from(
    [*NAMES, "cut \ud83d", "\ud83d\ude00", "\u0130", "\ufb01"]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
# Texts as protobuf may have them.
SOUND = st.text(min_size=1, max_size=30) | st.sampled_from(NAMES)
HELLO = [{"role": "user", "content": "Hello"}]
_spans = count(1)


def ids_of(doors: Doors) -> set[tuple[str, str]]:
    """(user, conversation) of all that came in."""
    assert doors.journal.items
    return {(one.user_id, one.conversation_id) for one in doors.journal.items}


@MANY
@given(said=TEXTS | NUMBERS)
def test_an_id_is_sound_and_its_own_name(said: str | float) -> None:
    assume(user_id_of(said))
    for made, again in (
        (user_id_of(said), user_id_of),
        (conversation_id_of(said), conversation_id_of),
    ):
        assert is_segment(made)
        assert again(made) == made


@MANY
@given(said=TEXTS | NUMBERS)
def test_over_rest(doors: Doors, said: str | float) -> None:
    assume(user_id_of(said))
    named = {"user": said, "conversation_id": said}
    chat = conversation(1) | {"user": said, "id": said}
    for path, item in (
        ("conversations", chat),
        ("feedback", feedback(1) | named),
        ("preferences", preference(1) | named),
    ):
        doors.journal.items.clear()
        answer = doors.post(f"/v1/{path}", json.dumps({path: [item]}).encode())
        assert answer.status_code == 200, answer.text
        assert ids_of(doors) == {(user_id_of(said), conversation_id_of(said))}


@MANY
@given(said=TEXTS | NUMBERS, field=st.sampled_from(["user", "safety_identifier"]))
def test_in_a_chat(said: str | float, field: str) -> None:
    """Of OpenAI's chats and responses, and of Anthropic's messages."""
    named = {"conversation_id": said}
    message = {"model": "m", "max_tokens": 9, "messages": HELLO}
    bodies = (
        {"messages": HELLO, field: said, "metadata": named},
        responses.read_request({"model": "m", "input": HELLO, field: said, "metadata": named}).chat,
        anthropic.read_request(message | {"metadata": {"user_id": said, **named}}).chat,
    )
    for body in bodies:
        chat = read_chat({**body, "messages": HELLO}, {}, "acme", "key")
        assert chat.speaker == user_id_of(said)
        assert chat.named_conversation == conversation_id_of(said)


@MANY
@given(said=SOUND)
def test_in_headers(said: str) -> None:
    raw = [(f"x-trimtab-{one}".encode(), said.encode()) for one in ("user", "conversation")]
    chat = read_chat({"messages": HELLO}, Headers(raw=raw), "acme", "key")
    assert (chat.speaker, chat.named_conversation) == (user_id_of(said), conversation_id_of(said))


def _value(said: object) -> dict[str, Any]:
    if isinstance(said, str):
        return {"stringValue": said}
    if isinstance(said, float):
        return {"doubleValue": said}
    return {"intValue": str(said)}


@pytest.mark.parametrize("user_key", ["user.id", "enduser.id", "langfuse.user.id"])
@MANY
@given(said=TEXTS | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300))
def test_in_spans_and_log_records(doors: Doors, said: str | float, user_key: str) -> None:
    assume(user_id_of(said))
    wanted = {(user_id_of(said), conversation_id_of(said))}
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]
    named = [
        {"key": user_key, "value": _value(said)},
        {"key": "gen_ai.conversation.id", "value": _value(said)},
    ]
    number = next(_spans)
    ids = {"traceId": f"{number:032x}", "spanId": f"{number:016x}"}
    held = {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(asked)}}
    sent = {**ids, "startTimeUnixNano": TIME, "attributes": [*named, held]}
    content = {"key": "content", "value": {"stringValue": "Hello"}}
    body = {"kvlistValue": {"values": [content]}}
    record = {**ids, "timeUnixNano": TIME, "eventName": "gen_ai.user.message", "body": body}
    record["spanId"] = f"{2**60 + number:016x}"
    for path, outer, inner, item in (
        ("traces", "Spans", "spans", sent),
        ("logs", "Logs", "logRecords", record | {"attributes": named}),
    ):
        doors.journal.items.clear()
        export = {f"resource{outer}": [{f"scope{outer}": [{inner: [item]}]}]}
        answer = doors.post(f"/v1/{path}", json.dumps(export).encode())
        assert (answer.status_code, answer.json()) == (200, {})
        assert ids_of(doors) == wanted


@MANY
@given(said=SOUND)
def test_in_spans_in_protobuf(doors: Doors, said: str) -> None:
    assume(user_id_of(said))
    doors.journal.items.clear()
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]
    request, number = traces.ExportTraceServiceRequest(), next(_spans)
    attributes = {"user.id": said, "session.id": said, "gen_ai.conversation.id": said}
    attributes |= {"gen_ai.input.messages": json.dumps(asked)}
    held = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    made = json_format.ParseDict({"attributes": held}, trace_pb2.Span())
    made.trace_id, made.span_id = number.to_bytes(16), number.to_bytes(8)
    request.resource_spans.add().scope_spans.add().spans.append(made)
    answer = doors.post("/v1/traces", request.SerializeToString(), "application/x-protobuf")
    assert answer.status_code == 200
    assert ids_of(doors) == {(user_id_of(said), conversation_id_of(said))}


@MANY
@given(said=SOUND)
def test_over_grpc(doors: Doors, said: str) -> None:
    assume(user_id_of(said))
    doors.journal.items.clear()
    named: dict[str, Any] = {"user_id": said, "conversation_id": said}

    async def log() -> list[Any]:
        stub, caller = pb_grpc.InteractionServiceStub(doors.channel), metadata("acme")
        given = common.ExplicitFeedback(thumbs_up=True, **named)
        streamed = [pb.StreamTurnsRequest(turns=[turn("Hello", **named)])]
        return [
            await stub.LogTurns(pb.LogTurnsRequest(turns=[turn("Hi", **named)]), metadata=caller),
            await stub.StreamTurns(iter(streamed), metadata=caller),
            await stub.LogFeedback(pb.LogFeedbackRequest(feedback=[given]), metadata=caller),
            await stub.LogPreferences(
                pb.LogPreferencesRequest(pairs=[pair("Hi", **named)]), metadata=caller
            ),
        ]

    for answer in doors.run(log()):
        assert list(answer.refusals) == []
    assert len(doors.journal.items) == 4
    assert ids_of(doors) == {(user_id_of(said), conversation_id_of(said))}


def _record(form: str, said: str | float) -> dict[str, Any]:
    """What an export has of a user and a conversation of that name."""
    answer = {"role": "assistant", "content": "Hi"}
    chat, other = [*HELLO, answer], [*HELLO, {**answer, "content": "Ho"}]
    share = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    sides = {"conversation_a": chat, "conversation_b": other, "model_a": "a", "model_b": "b"}
    people = {
        "participant1_id": {"class": "User", "user_id": said},
        "participant2_id": {"class": "Bot", "user_id": "bot"},
    }
    dialog = [{"sender_class": "Human", "text": "Hello"}, {"sender_class": "Bot", "text": "Hi"}]
    shapes: dict[str, dict[str, Any]] = {
        "openai": {"id": said, "user": said, "messages": chat},
        "sharegpt": {"id": said, "user": said, "conversations": share},
        "wildchat": {"conversation_hash": said, "conversation": chat, "hashed_ip": said},
        "lmsys": {"conversation_id": said, "user": said, "conversation": chat},
        "arena": {"question_id": said, "judge": said, "winner": "tie (bothbad)", **sides},
        "langfuse": {"id": "o", "traceId": "t", "sessionId": said, "userId": said}
        | {"input": HELLO, "output": "Hi"},
        "trl-preference": {"id": said, "user": said, "prompt": "a", "chosen": "b", "rejected": "c"},
        "trl-unpaired": {"id": said, "user": said, "prompt": "a", "completion": "b", "label": True},
        "convai2": {"dialog": dialog, "start_time": "2026-02-01", **people},
    }
    return {**shapes, **_exported_chats(said)}[form]


def _exported_chats(said: str | float) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "Hi"}
    node = {"author": {"role": "user"}, "content": {"parts": ["Hello"]}}
    preference = {
        "preferred_output": [answer],
        "non_preferred_output": [{**answer, "content": "Ho"}],
    }
    request = {"messages": HELLO, "user": said, "model": "m"}
    return {
        "openai-preference": {"input": {"messages": HELLO}, "user": said, **preference},
        "openai-batch": {"custom_id": "b", "url": "/v1/chat/completions", "body": request},
        "chatgpt": {"conversation_id": said, "user": said, "mapping": {"u": {"message": node}}}
        | {"current_node": "u"},
        "claude": {"uuid": said, "account": {"uuid": said}}
        | {"chat_messages": [{"uuid": "m", "sender": "human", "text": "Hello"}]},
        "open-webui": {"id": said, "user_id": said, "chat": {"messages": HELLO}},
    }


# Formats in which a record names its own conversation.
_NAMING = {"openai", "sharegpt", "wildchat", "lmsys", "langfuse", "trl-unpaired"}
_NAMING |= {"chatgpt", "claude", "open-webui"}


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"hh-rlhf"}))  # which names nobody
@settings(MANY, max_examples=60)
@given(said=TEXTS | NUMBERS)
def test_in_imports(doors: Doors, form: str, said: str | float) -> None:
    assume(user_id_of(said))
    doors.journal.items.clear()
    done, refused = doors.import_([json.dumps(_record(form, said)).encode()], form)
    assert (done.records, refused) == (1, [])
    assert {user for user, _ in ids_of(doors)} == {user_id_of(said)}
    if form in _NAMING:
        assert {named for _, named in ids_of(doors)} == {conversation_id_of(said)}


@MANY
@given(said=SOUND)
def test_when_it_is_asked_for(said: str) -> None:
    """By commands, in filters, in the names of resources."""
    assume(user_id_of(said))
    assert user_named(said).id == user_id_of(said)
    assert conversation_named(said).id == conversation_id_of(said)
    quoted = said.replace("\\", "\\\\").replace('"', '\\"')
    terms = parse_filter(
        f'user_id = "{quoted}" AND conversation_id = "{quoted}"', ("user_id", "conversation_id")
    )
    assert [term.value for term in terms] == [user_id_of(said), conversation_id_of(said)]
    _, found = parse_name(f"tenants/t/users/{said}/persona", "tenants/*/users/**/persona")
    assert user_id_of(found) == user_id_of(said)
