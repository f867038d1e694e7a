"""One bad record of an import: it is refused with its line, and its neighbours go in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.adapters.http_import import HttpImport
from services.cli.domain.records import Item
from shared.language.assessments import Assessment
from shared.language.opinions import ExplicitFeedback
from tests.unit.cli.twins import TwinTarget

DEEP = "[" * 2000 + "]" * 2000


def numbered(number: int, text: object = "Hello") -> dict[str, Any]:
    return {"id": f"n-{number}", "messages": [{"role": "user", "content": text}]}


def texts(target: TwinTarget) -> list[str]:
    said = [one for item in target.items for one in item.conversations]
    return [line.message.text for one in said for line in one.lines]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_half_an_emoji_is_kept(trimtab: Any, tmp_path: Path, name: str) -> None:
    found = [numbered(1), numbered(2, "cut \ud83d"), numbered(3, "\ud83d\ude00")]
    text = json.dumps(found) if name == "x.json" else "\n".join(map(json.dumps, found))
    (tmp_path / name).write_text(text)
    target = TwinTarget()
    assert trimtab("import", name, target=target).code == 0
    assert texts(target) == ["Hello", "cut \ufffd", "😀"]


def test_half_an_emoji_in_a_refused_record_comes_in_with_the_report(
    trimtab: Any, tmp_path: Path
) -> None:
    bad = {**numbered(1, "cut \ud83d"), "user": ["a b"]}
    (tmp_path / "x.jsonl").write_text(json.dumps(bad))
    assert trimtab("import", "x.jsonl", "--refused", "bad.jsonl").code == 1
    report = (tmp_path / "bad.jsonl").read_text().replace('["a b"]', '"ada"')
    (tmp_path / "bad.jsonl").write_text(report)
    target = TwinTarget()
    assert trimtab("import", "bad.jsonl", "--refused", "2.jsonl", target=target).code == 0
    assert texts(target) == ["cut \ufffd"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (f'{{"messages": {DEEP}}}', "UNREADABLE"),
        (DEEP, "UNREADABLE"),
        ('{"messages": [{"role": "user", "content": "x"}], "created": NaN}', "UNREADABLE"),
        # The record is read, but not what a part of it is identified by.
        (
            '{"messages": [{"role": "user", "content": [{"type": "image", "image": @}]}]}'.replace(
                "@", '{"a":' * 400 + "1" + "}" * 400
            ),
            "",
        ),
    ],
)
def test_a_record_nested_too_deeply_is_refused_by_itself(
    trimtab: Any, tmp_path: Path, bad: str, reason: str
) -> None:
    (tmp_path / "x.jsonl").write_text(
        "\n".join([json.dumps(numbered(1)), bad, json.dumps(numbered(3))])
    )
    target = TwinTarget()
    ran = trimtab("import", "x.jsonl", "--json", target=target)
    assert ran.code == (1 if reason else 0)
    assert ran.json["reasons"] == ({reason: 1} if reason else {})
    assert [text for text in texts(target) if text] == ["Hello", "Hello"]
    if reason:
        (refused,) = [json.loads(one) for one in (tmp_path / "refused.jsonl").open()]
        assert (refused["line"], refused["record"]) == (2, bad)


def test_what_does_not_fit_into_the_body_is_refused_before_it() -> None:
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/json"
        bodies.append(json.loads(request.content))
        refused = [{"position": 1, "field": "value", "reason": "MISSING_SCALE", "detail": "no"}]
        return httpx.Response(207, json={"refused": refused})

    target = HttpImport("http://gateway", "k")
    target._client = httpx.Client(
        base_url="http://gateway",
        headers=target._headers(),
        transport=httpx.MockTransport(answer),
    )
    given = [
        Item(feedback=(ExplicitFeedback("", True, conversation_id="c", index=index),))
        for index in (0, 10**5000, 2)
    ]
    refusals = target.send(given).refusals()
    target.close()
    assert [one["message"] for one in bodies[0]["feedback"]] == [0, 2]
    assert [(place, reason) for place, _, reason, _ in refusals] == [
        (1, "INVALID_RECORD"),
        (2, "MISSING_SCALE"),
    ]


def test_scores_of_evaluators_go_through_the_gateway_as_such() -> None:
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append((request.url.path, json.loads(request.content)))
        refused = {
            "position": 1,
            "field": "value",
            "reason": "INVALID_VALUE",
            "detail": "no number",
        }
        return httpx.Response(207, json={"accepted": 1, "refused": [refused]})

    target = HttpImport("http://gateway", "k")
    target._client = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer))
    given = Assessment("", "toxicity", 0.97, evaluator="EVAL", completion_id="o1")
    other = Assessment("", "stars", 4, evaluator="API", conversation_id="c")
    items = [Item(), Item(assessments=(given,)), Item(assessments=(other,))]
    refusals = target.send(items).refusals()
    target.close()
    ((path, body),) = bodies
    assert path == "/v1/assessments"
    first, second = body["assessments"]
    said = ("name", "value", "evaluator", "completion_id", "conversation_id")
    assert [first[name] for name in said] == ["toxicity", 0.97, "EVAL", "o1", ""]
    assert [second[name] for name in said] == ["stars", 4, "API", "", "c"]
    assert refusals == [(2, "value", "INVALID_VALUE", "no number")]
