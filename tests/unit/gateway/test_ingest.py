from datetime import UTC, datetime
from typing import Any

import pytest

from shared.language.assessments import Assessment
from shared.language.identifiers import user_id_of
from shared.language.opinions import Category, Demonstration, Rating

GOOD: dict[str, Any] = {
    "id": "c-1",
    "user": "ada",
    "created": "2026-02-01T10:00:00Z",
    "channel": "import",
    "metadata": {"source": "crm"},
    "messages": [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "created": 1_769_940_060, "model_version": "v9"},
    ],
}


async def test_a_batch_is_durable_before_the_answer(gateway: Any) -> None:
    answer = await gateway.http.post("/v1/conversations", json={"conversations": [GOOD]})
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 1, "turns": 2, "refused": []}
    user, reply = gateway.sink.turns
    assert (user.tenant, user.conversation_id, user.index, user.user_id) == (
        "local",
        "c-1",
        0,
        "ada",
    )
    assert user.create_time == datetime(2026, 2, 1, 10, tzinfo=UTC)
    assert reply.create_time == datetime(2026, 2, 1, 10, 1, tzinfo=UTC)
    assert (reply.index, reply.model_version, reply.channel) == (1, "v9", "import")


async def test_each_refused_item_is_listed_and_the_others_go_in(gateway: Any) -> None:
    items = [
        GOOD,
        {**GOOD, "id": "c-2", "user": ""},
        {**GOOD, "id": ["c-3"]},
        {**GOOD, "id": "c-4", "messages": [{"role": "wizard", "content": "x"}]},
        {**GOOD, "id": "c-5", "messages": [{"role": "user", "content": " "}]},
        {**GOOD, "id": "c-6", "messages": []},
        {**GOOD, "id": "c-7", "created": "yesterday"},
        "no object",
        {**GOOD, "id": "c-8", "messages": [{"role": "user", "content": "refuse me"}]},
        {**GOOD, "id": "c-9"},
    ]
    answer = await gateway.http.post("/v1/conversations", json={"conversations": items})
    assert answer.status_code == 207
    body = answer.json()
    assert [(r["position"], r["reason"], r["field"]) for r in body["refused"]] == [
        (1, "INVALID_BODY", "user"),
        (2, "INVALID_BODY", "id"),
        (3, "UNKNOWN_ROLE", "messages[0].role"),
        (4, "EMPTY_MESSAGE", "messages[0].content"),
        (5, "INVALID_BODY", "messages"),
        (6, "INVALID_BODY", "created"),
        (7, "INVALID_BODY", ""),
        (8, "MESSAGE_TOO_LARGE", "messages[0]"),
    ]
    assert (body["accepted"], body["turns"]) == (2, 4)
    assert {turn.conversation_id for turn in gateway.sink.turns} == {"c-1", "c-9"}


async def test_a_conversation_without_an_id_gets_the_same_one_each_time(gateway: Any) -> None:
    nameless = {name: value for name, value in GOOD.items() if name != "id"}
    for _ in range(2):
        await gateway.http.post("/v1/conversations", json={"conversations": [nameless]})
    assert len({turn.conversation_id for turn in gateway.sink.turns}) == 1


async def test_away_is_a_503_that_says_when_to_come_back(gateway: Any) -> None:
    gateway.sink.away = True
    for route, body in (
        ("/v1/conversations", {"conversations": [GOOD]}),
        ("/v1/feedback", {"completion_id": "x", "value": True}),
    ):
        answer = await gateway.http.post(route, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


async def test_feedback_of_every_kind(gateway: Any) -> None:
    items = [
        {"completion_id": "chatcmpl-1", "user": "ada", "value": True, "comment": "nice"},
        {"conversation_id": "c-1", "value": 4, "min": 1, "max": 5},
        {"conversation_id": "c-1", "turn_id": "t", "value": "off-topic"},
        {"completion_id": "chatcmpl-2", "value": False, "demonstration": "Better: ..."},
        {"completion_id": "chatcmpl-3", "value": 4},
        {"completion_id": "chatcmpl-4"},
    ]
    answer = await gateway.http.post("/v1/feedback", json={"feedback": items})
    assert answer.status_code == 207
    body = answer.json()
    assert body["accepted"] == 4
    assert [(r["position"], r["reason"], r["field"]) for r in body["refused"]] == [
        (4, "MISSING_SCALE", "min"),
        (5, "MISSING_VALUE", "value"),
    ]
    said = [one for _, one in gateway.sink.feedback]
    values = [True, Rating(4, 1, 5), Category("off-topic"), False, Demonstration("Better: ...")]
    assert [one.value for one in said] == values
    assert said[0].comment == "nice"


async def test_feedback_names_its_answer_by_place_and_replaces_if_asked(gateway: Any) -> None:
    items = [
        {"conversation_id": "c-1", "message": 1, "value": False, "mode": "replace", "id": "f"},
        {"conversation_id": "c-1", "comment": "too long"},
        {"completion_id": "x", "value": True, "demonstration": "Better", "id": "g"},
        {"conversation_id": "c-1", "value": True, "mode": "shout"},
    ]
    answer = await gateway.http.post("/v1/feedback", json={"feedback": items})
    refused = [(r["position"], r["field"]) for r in answer.json()["refused"]]
    assert refused == [(3, "mode")]
    by_place, comment, *both = [one for _, one in gateway.sink.feedback]
    assert (by_place.index, by_place.replaces, by_place.feedback_id) == (1, True, "f")
    assert (comment.value, comment.comment, comment.replaces) == (None, "too long", False)
    assert [one.feedback_id for one in both] == ["g", "g.1"]


async def test_preferences_are_taken_in_batches(gateway: Any) -> None:
    good = {"user": "ada", "prompt": "Hi", "chosen": "Hello", "rejected": "What?", "id": "p-1"}
    spoken = [{"role": "user", "content": "Hi"}]
    items = [
        good,
        {**good, "prompt": spoken, "chosen": [{"role": "assistant", "content": "Hello"}]},
        {**good, "chosen": []},
        {**good, "prompt": [{"role": "wizard", "content": "x"}]},
        {**good, "source": "edit"},
    ]
    answer = await gateway.http.post("/v1/preferences", json={"preferences": items})
    assert answer.status_code == 207
    body = answer.json()
    assert (body["accepted"], body["pair_ids"]) == (2, ["p0", "p1"])
    assert [(r["position"], r["field"]) for r in body["refused"]] == [
        (2, "chosen"),
        (3, "prompt[0].role"),
        (4, "source"),
    ]
    first, second = [one for _, one in gateway.sink.preferences]
    assert (first.source, first.prompt, first.pair_id) == ("import", second.prompt, "p-1")
    gateway.sink.away = True
    again = await gateway.http.post("/v1/preferences", json={"preferences": items[:1]})
    assert (again.status_code, again.headers["retry-after"]) == (503, "3")


async def test_one_feedback_is_answered_by_itself(gateway: Any) -> None:
    good = await gateway.http.post("/v1/feedback", json={"completion_id": "x", "value": False})
    assert (good.status_code, good.json()["feedback_ids"]) == (200, ["f0"])
    bad = await gateway.http.post("/v1/feedback", json={"completion_id": "x", "value": 9})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "min")


async def test_messages_may_name_their_place_and_what_they_replace(gateway: Any) -> None:
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "Shorter", "index": 2},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "B", "index": 3, "turn_id": "t-b"},
    ]
    said[2] |= {"signal": "regeneration", "replaces_turn_id": "t-a"}
    document = {"id": "c-1", "user": "ada", "messages": said}
    answer = await gateway.http.post("/v1/conversations", json={"conversations": [document]})
    assert answer.json() == {"accepted": 1, "turns": 3, "refused": []}
    assert [turn.index for turn in gateway.sink.turns] == [2, 3, 3]
    last = gateway.sink.turns[2]
    assert (last.turn_id, last.signal, last.replaces_turn_id) == ("t-b", "regeneration", "t-a")
    for wrong in ({"index": -1}, {"index": 2**31}, {"signal": "shout"}):
        messages = [{"role": "user", "content": "x", **wrong}]
        body = {"conversations": [{"user": "ada", "messages": messages}]}
        refused = (await gateway.http.post("/v1/conversations", json=body)).json()["refused"]
        assert [one["field"] for one in refused] == [f"messages[0].{next(iter(wrong))}"]


async def test_a_prompt_that_heads_both_sides_is_cut_off(gateway: Any) -> None:
    asked = {"role": "user", "content": "Name a dog"}
    sides = [[asked, {"role": "assistant", "content": name}] for name in ("Rex", "Felix")]
    item = {"user": "ada", "prompt": "Name a dog", "chosen": sides[0], "rejected": sides[1]}
    answer = await gateway.http.post("/v1/preferences", json={"preferences": [item]})
    assert answer.json()["accepted"] == 1
    ((_, pair),) = gateway.sink.preferences
    assert [one.text for one in pair.prompt] == ["Name a dog"]
    assert (pair.chosen.text, pair.rejected.text) == ("Rex", "Felix")


@pytest.mark.parametrize(
    ("route", "item", "warned"),
    [
        (
            "conversations",
            {"conversation_id": "c", "userid": "x", "tags": [], **GOOD},
            {"conversation_id": "id", "userid": "user", "tags": ""},
        ),
        (
            "conversations",
            {**GOOD, "messages": [{"role": "user", "content": "x", "timestamp": 1, "name": "y"}]},
            {"messages[].timestamp": "messages[].created"},
        ),
        (
            "feedback",
            {"completion_id": "x", "value": True, "comments": "no", "score": 1},
            {"comments": "comment", "score": "value"},
        ),
        (
            "preferences",
            {"user": "ada", "prompt": "x", "chosen": "y", "rejected": "z", "model": "m"},
            {"model": "model_version"},
        ),
    ],
)
async def test_what_is_not_read_is_said(
    gateway: Any, route: str, item: dict[str, Any], warned: dict[str, str]
) -> None:
    answer = (await gateway.http.post(f"/v1/{route}", json={route: [item, item]})).json()
    assert (answer["accepted"], answer["refused"]) == (2, [])
    assert {one["field"]: one.get("meant", "") for one in answer["warnings"]} == warned
    for one in answer["warnings"]:
        words = f"; did you mean {one['meant']}?" if one.get("meant") else ""
        assert one["detail"] == f"{one['field']} is not read{words}"
        assert (one["position"], one["count"]) == (0, 2)


async def test_a_single_item_is_warned_of_too(gateway: Any) -> None:
    body = {"completion_id": "x", "value": True, "comments": "no"}
    answer = (await gateway.http.post("/v1/feedback", json=body)).json()
    assert [one["meant"] for one in answer["warnings"]] == ["comment"]


async def test_a_single_refusal_names_what_was_not_read(gateway: Any) -> None:
    answer = await gateway.http.post("/v1/feedback", json={"completion_id": "x", "score": 1})
    assert answer.status_code == 400
    assert "score is not read; did you mean value?" in answer.json()["error"]["message"]


async def test_warnings_of_a_body_are_few(gateway: Any) -> None:
    odd = {f"field {number}": 1 for number in range(200)}
    body = {"conversations": [{**GOOD, **odd}], "request": "r"}
    answer = (await gateway.http.post("/v1/conversations", json=body)).json()
    assert len(answer["warnings"]) == 50
    first = answer["warnings"][0]
    assert first == {
        "position": None,
        "field": "request",
        "count": 1,
        "detail": "request is not read",
    }


async def test_assessments_are_taken_in_batches(gateway: Any) -> None:
    said = {"name": "toxicity", "value": 0.97, "evaluator": "judge", "completion_id": "x"}
    items = [
        said,
        {"value": 1},
        {**said, "id": "a/1", "user": "auth0|ada", "value": None, "label": "high"},
    ]
    answer = await gateway.http.post("/v1/assessments", json={"assessments": items})
    assert answer.status_code == 207
    body = answer.json()
    assert body["accepted"] == 2
    assert [(one["position"], one["field"]) for one in body["refused"]] == [(1, "name")]
    first, second = gateway.sink.assessments
    assert first == Assessment("", "toxicity", 0.97, evaluator="judge", completion_id="x")
    assert (second.label, second.value) == ("high", None)
    assert second.assessment_id.startswith("assessment-")
    assert second.user_id == user_id_of("auth0|ada")
