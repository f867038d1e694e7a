"""Whatever one item is, its neighbours come in, and the answer says which one was refused and why."""

from __future__ import annotations

import copy
import itertools
import json
import re
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1 import common_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2

from services.cli.domain.formats import FORMATS
from tests.integration.properties.doors import KEY, MANY, REASON, UTF8, Doors
from tests.integration.properties.items import (
    assessment,
    conversation,
    feedback,
    langfuse,
    langsmith,
    openinference,
    preference,
    record,
    score,
    span,
    vercel,
)

# What the json module cannot write stands in for itself until the text is made.
_DEEP, _LONG = "@deep@", "@long@"
_FRESH = itertools.count(10)
_SPECIAL = {_DEEP: "[" * 2000 + "]" * 2000, _LONG: "-" + "9" * 5000}
_TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    [
        "\ud83d",
        "cut \ud83d",
        "\ude00",
        "\x00",
        "1e999",
        "9999-12-31T23:59:59-12:00",
        "{",
        '[{"type"',
    ]
)
_NUMBER = st.floats() | st.integers() | st.sampled_from([2**31, 2**63, 2**64, 10**400, -1])
_WILD = st.recursive(
    st.none() | st.booleans() | _NUMBER | _TEXT | st.sampled_from([_DEEP, _LONG]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    return [path, *(found for key, one in inside for found in places(one, (*path, key)))]


@st.composite
def odd(draw: st.DrawFn, good: Any) -> Any:
    """A good item of which one field, or all, is anything."""
    path, wild = draw(st.sampled_from(places(good))), draw(_WILD)
    if not path:
        return wild
    item = held = copy.deepcopy(good)
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = wild
    return item


def text_of(item: Any) -> bytes:
    text = json.dumps(item)
    for name, special in _SPECIAL.items():
        text = text.replace(f'"{name}": ', '"name": ').replace(f'"{name}"', special)
    return text.encode()


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("conversations", conversation),
        ("feedback", feedback),
        ("assessments", assessment),
        ("preferences", preference),
    ],
)
@MANY
@given(data=st.data())
def test_rest(doors: Doors, name: str, good: Any, data: st.DataObject) -> None:
    doors.journal.items.clear()
    items = [text_of(good(1)), text_of(data.draw(odd(good(2)))), text_of(good(3))]
    answer = doors.post(f"/v1/{name}", b'{"%b": [%b]}' % (name.encode(), b",".join(items)))
    assert answer.status_code in (200, 207), answer.text
    refused = answer.json()["refused"]
    assert {one["position"] for one in refused} <= {1}
    assert all(REASON.fullmatch(one["reason"]) and one["detail"] for one in refused)
    assert (answer.status_code, answer.json()["accepted"]) == ((207, 2) if refused else (200, 3))
    assert doors.took(1)
    assert doors.took(3)


@MANY
@given(data=st.data())
def test_langfuses_scores(doors: Doors, data: st.DataObject) -> None:
    doors.journal.items.clear()
    items = [text_of(score(1)), text_of(data.draw(odd(score(2)))), text_of(score(3))]
    answer = doors.post("/api/public/scores", b"[%b]" % b",".join(items))
    assert answer.status_code in (202, 207), answer.text
    body = answer.json()
    if answer.status_code == 207:
        assert (body["accepted"], body["rejected"]) == (2, 1)
        assert re.match(r"\[1\] [A-Z_]+ at ", body["errors"][0]["message"])
    assert doors.took(1)
    assert doors.took(3)


@pytest.mark.parametrize(
    ("path", "names", "good"),
    [
        ("/v1/traces", (b"resourceSpans", b"scopeSpans", b"spans"), span),
        ("/v1/traces", (b"resourceSpans", b"scopeSpans", b"spans"), openinference),
        ("/v1/traces", (b"resourceSpans", b"scopeSpans", b"spans"), langfuse),
        ("/v1/traces", (b"resourceSpans", b"scopeSpans", b"spans"), vercel),
        ("/v1/traces", (b"resourceSpans", b"scopeSpans", b"spans"), langsmith),
        ("/v1/logs", (b"resourceLogs", b"scopeLogs", b"logRecords"), record),
    ],
)
@MANY
@given(data=st.data())
def test_otlp_in_json(doors: Doors, path: str, names: Any, good: Any, data: st.DataObject) -> None:
    doors.journal.items.clear()
    first = next(_FRESH) * 4  # other spans than the examples before: the same one says nothing new
    items = [
        text_of(good(first)),
        text_of(data.draw(odd(good(first + 1)))),
        text_of(good(first + 2)),
    ]
    body = b'{"%b":[{"%b":[{"%b":[%b]}]}]}' % (*names, b",".join(items))
    answer = doors.post(path, body)
    assert answer.status_code == 200, answer.text
    partial = answer.json().get("partialSuccess", {})
    assert partial.get("rejectedSpans", partial.get("rejectedLogRecords", "0")) in ("0", "1")
    assert re.match(
        r"(\[1\] .*: [A-Z_]+ at |not logged: model calls|$)", partial.get("errorMessage", "")
    )
    assert doors.took(first)
    assert doors.took(first + 2)


_ANY = st.recursive(
    st.builds(otlp.AnyValue, string_value=UTF8)
    | st.builds(otlp.AnyValue, double_value=st.floats())
    | st.builds(otlp.AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
    | st.builds(otlp.AnyValue, bytes_value=st.binary(max_size=4))
    | st.just(otlp.AnyValue()),
    lambda inner: st.lists(inner, max_size=3).map(
        lambda values: otlp.AnyValue(array_value=otlp.ArrayValue(values=values))
    ),
    max_leaves=5,
)
_KEYS = st.sampled_from(
    [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.conversation.id",
        "gen_ai.response.model",
        "gen_ai.prompt.0.content",
        "gen_ai.prompt.0.role",
        "gen_ai.prompt." + "9" * 5000 + ".role",
        "user.id",
    ]
)


@pytest.mark.parametrize("over", ["http", "grpc"])
@MANY
@given(
    attributes=st.lists(st.tuples(_KEYS, _ANY), max_size=4),
    times=st.tuples(*[st.integers(0, 2**64 - 1)] * 2),
    ids=st.tuples(st.binary(max_size=20), st.binary(max_size=20)),
)
def test_otlp_in_protobuf(doors: Doors, over: str, attributes: Any, times: Any, ids: Any) -> None:
    doors.journal.items.clear()
    request = traces.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for n in (1, 2, 3):
        asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"good {n}"}]}])
        held = [("gen_ai.input.messages", otlp.AnyValue(string_value=asked))]
        made = spans.add(trace_id=n.to_bytes(16), span_id=n.to_bytes(8))
        if n == 2:
            held += attributes
            made.trace_id, made.span_id = ids
            made.start_time_unix_nano, made.end_time_unix_nano = times
        made.attributes.extend(otlp.KeyValue(key=key, value=value) for key, value in held)
    partial = _exported(doors, over, request.SerializeToString())
    assert partial.rejected_spans in (0, 1)
    assert re.match(r"(\[1\] .*: [A-Z_]+ at |not logged: model calls|$)", partial.error_message)
    assert doors.took(1)
    assert doors.took(3)


def _exported(doors: Doors, over: str, body: bytes) -> Any:
    if over == "http":
        answer = doors.post("/v1/traces", body, "application/x-protobuf")
        assert answer.status_code == 200, answer.text
        return traces.ExportTraceServiceResponse.FromString(answer.content).partial_success

    async def export() -> Any:
        call: Any = doors.otlp.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            response_deserializer=traces.ExportTraceServiceResponse.FromString,
        )
        return await call(body, metadata=[("authorization", f"Bearer {KEY}")])

    return doors.run(export()).partial_success


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*length, size]) + content


_DEEP_VALUE = b""
for _ in range(1000):
    _DEEP_VALUE = _field(5, _field(1, _DEEP_VALUE))


@pytest.mark.parametrize("over", ["http", "grpc"])
@MANY
@given(content=st.binary(max_size=60) | st.just(_field(9, _field(2, _DEEP_VALUE))))
def test_any_bytes_in_place_of_a_span(doors: Doors, over: str, content: bytes) -> None:
    doors.journal.items.clear()
    spans = []
    for n in (1, 3):
        made = json_format.ParseDict(span(n), trace_pb2.Span())
        spans.append(made.SerializeToString())
    items = [spans[0], content, spans[1]]
    scope = b"".join(_field(2, one) for one in items)
    partial = _exported(doors, over, _field(1, _field(2, scope)))
    assert partial.rejected_spans in (0, 1)
    assert re.match(r"(\[1\] .*: [A-Z_]+ at |not logged: model calls|$)", partial.error_message)
    assert doors.took(1)
    assert doors.took(3)


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_an_empty_export_is_no_error(doors: Doors, over: str) -> None:
    assert not _exported(doors, over, b"").error_message


def _imported(form: str, n: int) -> Any:
    chat = [{"role": "user", "content": f"good {n}"}, {"role": "assistant", "content": "x"}]
    other = [chat[0], {"role": "assistant", "content": "y"}]
    participants = {
        "participant1_id": {"class": "User", "user_id": "ada"},
        "participant2_id": {"class": "Bot", "user_id": "bot"},
    }
    dialog = [{"sender_class": "Human", "text": f"good {n}", "evaluation_score": 1}]
    sharegpt = [{"from": "human", "value": f"good {n}"}, {"from": "gpt", "value": "x"}]
    arena = {"model_a": "a", "model_b": "b", "winner": "model_a", "judge": "j", "tstamp": 1.7e9}
    shapes: dict[str, Any] = {
        "openai": {"id": f"i-{n}", "user": "ada", "created": 1.7e9, "messages": chat, "model": "m"},
        "sharegpt": {"id": f"i-{n}", "conversations": sharegpt, "model": "m"},
        "wildchat": {"conversation_hash": f"i-{n}", "conversation": chat, "timestamp": 1.7e9},
        "lmsys": {"conversation_id": f"i-{n}", "conversation": chat, "tstamp": 1.7e9, "model": "m"},
        "arena": {"question_id": f"i-{n}", "conversation_a": chat, "conversation_b": other} | arena,
        "langfuse": {"id": f"i-{n}", "traceId": f"t-{n}", "input": chat[:1], "output": "x"}
        | {"startTime": "2026-02-01T10:00:00Z", "model": "m", "userId": "ada"},
        "trl-preference": {"prompt": f"good {n}", "chosen": "x", "rejected": "y"},
        "trl-unpaired": {"prompt": f"good {n}", "completion": "x", "label": True},
        "convai2": {"dialog": dialog, "start_time": "2026-02-01", "eval_score": 4, **participants},
    }
    return {**shapes, **_exported_chats(n)}[form]


def _exported_chats(n: int) -> dict[str, Any]:
    """What chat applications export, and what OpenAI's platform takes."""
    chat = [{"role": "user", "content": f"good {n}"}, {"role": "assistant", "content": "x"}]
    transcript = f"\n\nHuman: good {n}\n\nAssistant: "
    said = {"author": {"role": "user"}, "content": {"parts": [f"good {n}"]}, "create_time": 1.7e9}
    tree: dict[str, Any] = {
        "r": {"parent": None, "message": None},
        "u": {"parent": "r", "message": said},
    }
    webui: dict[str, Any] = {"u": {"parentId": None, "timestamp": 1.7e9, **chat[0]}}
    webui["a"] = {"parentId": "u", "annotation": {"rating": 1, "tags": ["t"]}, **chat[1]}
    claude = {"uuid": "m", "sender": "human", "text": f"good {n}", "files": [{"file_name": "f"}]}
    request = {"messages": chat[:1], "user": "ada", "model": "m"}
    return {
        "hh-rlhf": {"chosen": f"{transcript}x", "rejected": f"{transcript}y"},
        "openai-preference": {"input": {"messages": chat[:1]}}
        | {"preferred_output": chat[1:], "non_preferred_output": [{**chat[1], "content": "y"}]},
        "openai-batch": {"custom_id": f"b-{n}", "url": "/v1/chat/completions", "body": request},
        "chatgpt": {"conversation_id": f"i-{n}", "mapping": tree, "current_node": "u"},
        "claude": {"uuid": f"i-{n}", "account": {"uuid": "ada"}, "chat_messages": [claude]},
        "open-webui": {"id": f"i-{n}", "user_id": "ada"}
        | {"chat": {"history": {"messages": webui, "currentId": "a"}}},
    }


@pytest.mark.parametrize("form", FORMATS)
@settings(MANY, max_examples=60)
@given(data=st.data(), named=st.booleans())
def test_import(doors: Doors, form: str, data: st.DataObject, named: bool) -> None:
    doors.journal.items.clear()
    bad = data.draw(odd(_imported(form, 2)))
    lines = [text_of(_imported(form, 1)), text_of(bad), text_of(_imported(form, 3))]
    done, refused = doors.import_(lines, form if named else "auto")
    assert done.read == 3
    assert done.records == 3 - done.refused
    assert {one["line"] for one in refused} <= {2}
    assert all(REASON.fullmatch(one["reason"]) and one["detail"] for one in refused)
    assert doors.took(1)
    assert doors.took(3)
