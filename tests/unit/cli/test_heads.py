"""`trimtab feedback heads` and `judge`: what judges follow-ups, with figures and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def estimate(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "count": 120, "users": 24}


REFUSED = {
    "name": "heads/dissatisfaction-v2",
    "version": 2,
    "state": "HEAD_STATE_REFUSED",
    "reason": "NOT_BETTER",
    "against": "heads/dissatisfaction-v1",
    "refitted": True,
    "labels": "480",
    "users": "96",
    "logLossGain": estimate(-0.01, -0.03, 0.01),
    "aurocBefore": estimate(0.9, 0.8, 0.95),
    "aurocAfter": estimate(0.89, 0.8, 0.95),
}
SERVING = {
    "name": "heads/dissatisfaction-v1",
    "version": 1,
    "state": "HEAD_STATE_SERVING",
    "against": "shipped-0a1b2c3d4e5f",
    "labels": "400",
    "users": "80",
    "logLossGain": estimate(0.41, 0.32, 0.5),
    "aurocBefore": estimate(0.2, 0.1, 0.3),
    "aurocAfter": estimate(0.9, 0.8, 0.95),
}
ANSWER = {
    "heads": [REFUSED, SERVING],
    "serving": "heads/dissatisfaction-v1",
    "look": {
        "reason": "NOT_BETTER",
        "labels": "480",
        "users": "96",
        "heldOutUsers": "24",
        "nextTime": "2026-11-22T03:17:00Z",
    },
}


def test_versions_figures_and_verdicts_are_listed(trimtab: Callable[..., Any]) -> None:
    ran = trimtab("feedback", "heads", answers={"ListHeads": ANSWER})
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    refused = next(line for line in lines if line.startswith("dissatisfaction-v2"))
    assert "refused NOT_BETTER refitted 480 of 96" in refused
    assert "-0.01 [-0.03, 0.01] of 120 from 24 users" in refused
    serving = next(line for line in lines if line.startswith("dissatisfaction-v1"))
    assert "recalibrated" in serving
    assert "0.200 to 0.900 shipped-0a1b2c3d4e5f" in serving
    assert "serving: heads/dissatisfaction-v1" in lines
    assert any(line.startswith("last look: NOT_BETTER, 480 labels of 96 users") for line in lines)
    assert "next look 2026-11-22T03:17:00Z" in ran.out


def test_json_has_all_of_it(trimtab: Callable[..., Any]) -> None:
    ran = trimtab("feedback", "heads", "--json", answers={"ListHeads": ANSWER})
    assert [one["reason"] for one in ran.json["heads"]] == ["NOT_BETTER", ""]
    assert ran.json["heads"][1]["log_loss_gain"]["low"] == 0.32
    assert ran.json["look"]["held_out_users"] == "24"


def test_without_a_head_it_says_what_serves(trimtab: Callable[..., Any]) -> None:
    ran = trimtab("feedback", "heads", answers={"ListHeads": {"serving": "shipped-0a1b2c3d4e5f"}})
    assert "No head has been fitted on your users' labels yet." in ran.out
    assert "serving: shipped-0a1b2c3d4e5f" in ran.out
    assert "last look" not in ran.out


def test_all_pages_are_asked_until_there_are_enough(trimtab: Callable[..., Any]) -> None:
    asked = []

    def page(request: dict[str, Any]) -> dict[str, Any]:
        asked.append((request["page_size"], request["page_token"]))
        more = {"": "p2", "p2": "p3", "p3": ""}[request["page_token"]]
        return {**ANSWER, "nextPageToken": more}

    ran = trimtab("feedback", "heads", "--limit", "5", "--json", answers={"ListHeads": page})
    assert asked == [(5, ""), (3, "p2"), (1, "p3")]
    assert [one["version"] for one in ran.json["heads"]] == [2, 1, 2, 1, 2]
    assert ran.json["next_page_token"] == ""
    assert ran.json["serving"] == "heads/dissatisfaction-v1"


JUDGEMENTS = {
    "judgements": [
        {
            "state": "JUDGEMENT_STATE_SHADOW",
            "userId": "ada",
            "conversationId": "c1",
            "model": "smollm2",
            "label": {"kind": "FOLLOW_UP_KIND_POSITIVE", "dissatisfaction": 0.15},
        },
        {"state": "JUDGEMENT_STATE_ABSTAINED", "abstainReason": "NO_MAJORITY", "label": {}},
    ],
    "agreement": estimate(0.85, 0.767, 0.907),
    "commonest": 0.6,
    "trusted": True,
}


def test_judgements_are_listed_with_their_agreement(trimtab: Callable[..., Any]) -> None:
    ran = trimtab("feedback", "judge", answers={"ListJudgements": JUDGEMENTS})
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "shadow positive 0.15 ada c1 smollm2" in lines
    assert any(line.startswith("abstained NO_MAJORITY") for line in lines)
    assert (
        "agreement with people: 0.85 [0.767, 0.907] of 120 from 24 users; always giving the more common answer:"
        " 0.6; its labels count"
    ) in lines
    nothing = trimtab("feedback", "judge", answers={"ListJudgements": {}})
    assert "agreement with people: -; its labels are kept, but do not count" in nothing.out
    as_json = trimtab("feedback", "judge", "--json", answers={"ListJudgements": JUDGEMENTS}).json
    assert (as_json["trusted"], as_json["agreement"]["low"]) == (True, 0.767)


def _operation(**fields: Any) -> dict[str, Any]:
    return {"name": "operations/fit-head-1", **fields}


def _fitted(reason: str) -> dict[str, Any]:
    kind = "type.googleapis.com/trimtab.feedback.v1.FitHeadResponse"
    response = {"@type": kind, "reason": reason, "labels": "480", "users": "96"}
    return _operation(done=True, response={**response, "heldOutUsers": "24", "head": SERVING})


def test_a_fit_is_started_and_waited_for(trimtab: Callable[..., Any]) -> None:
    ran = trimtab("feedback", "heads", "fit", answers={"FitHead": _operation()})
    assert (ran.code, ran.out.strip()) == (0, "operations/fit-head-1 has started.")
    ends = iter([_operation(), _fitted("promoted")])
    answers = {"FitHead": _operation(), "WaitOperation": lambda _: next(ends)}
    ran = trimtab("feedback", "heads", "fit", "--wait", answers=answers)
    assert ran.code == 0
    assert "promoted: 480 labels of 96 users to fit on, 24 held-out users to judge by" in ran.out
    assert "heads/dissatisfaction-v1 against shipped-0a1b2c3d4e5f: saves" in ran.out


def test_a_fit_that_is_not_promoted_ends_with_its_reason(trimtab: Callable[..., Any]) -> None:
    answers = {"FitHead": _fitted("NOT_BETTER")}
    ran = trimtab("feedback", "heads", "fit", "--wait", "--json", answers=answers)
    assert (ran.code, ran.json["reason"]) == (1, "NOT_BETTER")
    assert ran.json["held_out_users"] == "24"


def test_a_head_is_taken_back(trimtab: Callable[..., Any]) -> None:
    asked = []

    def retire(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["name"])
        return {"head": SERVING, "serving": "shipped-0a1b2c3d4e5f"}

    ran = trimtab("feedback", "heads", "retire", SERVING["name"], answers={"RetireHead": retire})
    assert asked == ["heads/dissatisfaction-v1"]
    assert "heads/dissatisfaction-v1 is retired; serving: shipped-0a1b2c3d4e5f" in ran.out
