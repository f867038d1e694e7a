"""One bad item at every door for several: it is refused with its place, and its neighbours go in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.gateway.adapters.interaction import InteractionSink
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.language.messages import text_message
from shared.language.opinions import ExplicitFeedback
from shared.language.turns import Turn

START = "1770000000000000000"
DEEP = "[" * 2000 + "]" * 2000
# What a JSON writer leaves of an emoji that it cut in the middle: six characters.
HALF = "\\ud83d"


def attribute(key: str, value: object) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def span(number: int, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """`text` as it is inside the JSON of the messages."""
    messages = '[{"role":"user","parts":[{"type":"text","content":"@"}]}]'.replace("@", text)
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "startTimeUnixNano": START,
        "endTimeUnixNano": START,
        "attributes": [
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.input.messages", messages),
        ],
        **fields,
    }


def export(*spans: object) -> str:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})


async def post(gateway: Any, path: str, body: str) -> Any:
    headers = {"content-type": "application/json"}
    return await gateway.http.post(path, content=body.encode(), headers=headers)


def said(gateway: Any) -> list[str]:
    return [turn.message.text for turn in gateway.sink.turns]


async def test_half_an_emoji_in_a_span_is_kept_and_loses_no_other(gateway: Any) -> None:
    body = export(
        span(1, "one"), span(2, f"cut {HALF}"), span(3, "a 😀 b"), span(4, "\ud83d\ude00")
    )
    answer = await post(gateway, "/v1/traces", body)
    assert (answer.status_code, answer.json()) == (200, {})
    assert said(gateway) == ["one", "cut \ufffd", "a 😀 b", "😀"]


async def test_half_an_emoji_in_the_exports_own_json_is_kept_too(gateway: Any) -> None:
    records = [
        {
            "eventName": "gen_ai.user.message",
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "timeUnixNano": START,
            "body": {"kvlistValue": {"values": [attribute("content", text)]}},
        }
        for number, text in enumerate(["one", "cut \ud83d", "three"], 1)
    ]
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
    assert HALF in body
    answer = await post(gateway, "/v1/logs", body)
    assert (answer.status_code, answer.json()) == (200, {})
    assert said(gateway) == ["one", "cut \ufffd", "three"]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ('"text"', "UNDECODABLE at span"),
        ("null", "UNDECODABLE at span"),
        (json.dumps(span(2, startTimeUnixNano="soon")), "UNDECODABLE at span"),
        (json.dumps(span(2, startTimeUnixNano=10**40)), "UNDECODABLE at span"),
        (json.dumps(span(2, traceId="xyz")), "UNDECODABLE at traceId"),
        (json.dumps(span(2, endTimeUnixNano=float("nan"))), "UNDECODABLE at span"),
        ('{"attributes": @}'.replace("@", DEEP), "INVALID_RECORD at -"),
        (json.dumps(span(2, text="%s")) % DEEP.replace("[", '[{\\"a\\":'), "MALFORMED_JSON at "),
    ],
)
async def test_an_odd_span_is_refused_by_itself(gateway: Any, odd: str, reason: str) -> None:
    body = export(span(1, "one"), "@", span(3, "three")).replace('"@"', odd)
    answer = await post(gateway, "/v1/traces", body)
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert partial["errorMessage"].startswith("[1] ")
    assert reason in partial["errorMessage"]
    assert said(gateway) == ["one", "three"]


async def test_what_holds_spans_may_be_odd_too(gateway: Any) -> None:
    resources: list[Any] = [
        {"scopeSpans": [{"spans": [span(1, "one")]}]},
        7,
        {"scopeSpans": 7},
        {"scopeSpans": [7, {"spans": 7}, {"spans": None}, {"spans": [span(2, "two")]}]},
        {"resource": 7, "scopeSpans": [{"spans": [span(3, "lost")]}]},
        {"scope_spans": [{"spans": [span(4, "four")]}]},
    ]
    answer = await post(gateway, "/v1/traces", json.dumps({"resource_spans": resources}))
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "5"
    assert [line[:4] for line in partial["errorMessage"].split("\n")] == [
        f"[{n}] " for n in (1, 2, 3, 4, 6)
    ]
    assert said(gateway) == ["one", "two", "four"]


def conversation(name: str, text: object = "Hello", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"id": name, "user": "ada", "messages": messages, **fields}


async def test_conversations_come_in_around_a_bad_one(gateway: Any) -> None:
    items = [conversation("a"), conversation("b", "cut \ud83d"), "@", conversation("d")]
    body = json.dumps({"conversations": items}).replace('"@"', f'{{"messages": {DEEP}}}')
    answer = await post(gateway, "/v1/conversations", body)
    assert answer.status_code == 207
    (refused,) = answer.json()["refused"]
    assert refused == {
        "position": 2,
        "reason": "INVALID_RECORD",
        "field": "",
        "detail": "the item is nested too deeply",
    }
    assert [(turn.conversation_id, turn.message.text) for turn in gateway.sink.turns] == [
        ("a", "Hello"),
        ("b", "cut \ufffd"),
        ("d", "Hello"),
    ]


async def test_a_number_that_is_none_refuses_only_its_feedback(gateway: Any) -> None:
    given = [
        {"completion_id": "c", "value": True},
        {"completion_id": "c", "value": 1, "min": 0, "max": 5, "message": float("nan")},
        {"conversation_id": "c", "message": 2**31, "value": True},
        {"completion_id": "c", "value": False},
    ]
    answer = await post(gateway, "/v1/feedback", json.dumps({"feedback": given}))
    assert answer.status_code == 207
    assert [(r["position"], r["reason"], r["field"]) for r in answer.json()["refused"]] == [
        (1, "INVALID_BODY", "message"),
        (2, "INVALID_BODY", "message"),
    ]
    assert [one.value for _, one in gateway.sink.feedback] == [True, False]


async def test_a_pair_split_over_two_chunks_of_a_stream_stays_a_pair(gateway: Any) -> None:
    gateway.model.text, gateway.model.words = "\ude00x\ud83d", 2
    asked = {"model": "assistant", "user": "ada", "stream": True}
    body = json.dumps({**asked, "messages": [{"role": "user", "content": "Hi \ud83d"}]})
    passed = (await post(gateway, "/v1/chat/completions", body)).text
    # The client gets what the model server sent.
    assert passed.count('"content":"\\ude00x\\ud83d"') == 2
    assert passed.count('"model":"assistant-v0"') == 4
    await gateway.logged()
    assert said(gateway) == ["Hi \ufffd", "\ufffdx😀x\ufffd"]


async def test_what_does_not_fit_into_the_call_is_refused_before_it() -> None:
    async def take_feedback(request: pb.LogFeedbackRequest, **_: Any) -> pb.LogFeedbackResponse:
        refusals = [pb.Refusal(position=1, reason="INVALID_ID", message="no", field="user_id")]
        ids = [one.conversation_id for one in request.feedback[:1]]
        return pb.LogFeedbackResponse(feedback_ids=ids, refusals=refusals)

    async def take_turns(request: pb.LogTurnsRequest, **_: Any) -> pb.LogTurnsResponse:
        refusals = [pb.Refusal(position=1, reason="INVALID_ID", message="no", field="user_id")]
        return pb.LogTurnsResponse(names=[request.turns[0].conversation_id], refusals=refusals)

    sink = InteractionSink(grpc.aio.insecure_channel("127.0.0.1:1"))
    sink._stub = SimpleNamespace(LogFeedback=take_feedback, LogTurns=take_turns)  # type: ignore[assignment]
    given = [
        ExplicitFeedback("t", True, conversation_id="a", index=0),
        ExplicitFeedback("t", True, conversation_id="b", index=2**70),
        ExplicitFeedback("t", True, conversation_id="c", index=0),
    ]
    ids, refused = await sink.log_feedback("t", given)
    assert ids == ["a"]
    assert [(one.position, one.reason) for one in refused] == [
        (1, "INVALID_RECORD"),
        (2, "INVALID_ID"),
    ]
    turns = [Turn("t", "a", index, text_message("user", "x"), "ada") for index in (2**70, 0, 1, 2)]
    assert [(one.position, one.reason) for one in await sink.log_turns("t", turns)] == [
        (0, "INVALID_RECORD"),
        (2, "INVALID_ID"),
    ]
