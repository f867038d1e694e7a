"""trimtab conversations trace: the loop in its order, and where each turn ended."""

from __future__ import annotations

from typing import Any

from services.cli.app.lineage import trace
from shared.language.errors import NotFound
from tests.unit.cli.twins import Answer, TwinPlatform, away


def step(stage: str, turn: str, outcome: str, reason: str = "", name: str = "") -> dict[str, str]:
    return {
        "service": stage.split(".", maxsplit=1)[0],
        "stage": stage,
        "turn_id": turn,
        "outcome": outcome,
        "reason": reason,
        "name": name,
    }


ANSWERS: dict[str, Answer] = {
    "interaction.TraceConversation": {
        "steps": [step("interaction", "t0", "made"), step("interaction", "t1", "made")]
    },
    "feedback.TraceConversation": {
        "steps": [
            step("feedback.turns", "t1", "made", name="f1"),
            step("feedback.pairs", "t1", "made", name="p1"),
        ]
    },
    "reward.TraceConversation": {"steps": [step("reward.pairs", "", "made", name="p1")]},
    "drift.TraceConversation": {"steps": []},
    "retrain.TraceConversation": {
        "steps": [
            step("retrain.runs", "", "abstained", "USER_CAP", "p1"),
            step("retrain.runs", "", "made", name="p9"),
        ]
    },
}


def asked_of(ran: Any) -> list[tuple[str, str, str]]:
    return [
        (part, request.get("conversation_id", ""), request.get("turn_id", ""))
        for part, _, request in ran.platform.asked
        if "completion_id" not in request
    ]


def test_every_service_is_asked_in_the_order_of_the_loop(trimtab: Any) -> None:
    ran = trimtab("conversations", "trace", "tenants/local/conversations/c1", answers=ANSWERS)
    assert ran.code == 0
    parts = ["interaction", "feedback", "reward", "drift", "retrain"]
    assert asked_of(ran) == [(part, "c1", "") for part in parts]
    places = [ran.out.index(word) for word in ("interaction", "feedback.turns", "retrain.runs")]
    assert places == sorted(places)
    assert ran.out.splitlines()[-2:] == ["t0: interaction made", "t1: feedback.pairs made"]


def test_of_one_turn_pairs_are_those_that_rest_on_it(trimtab: Any) -> None:
    name = "tenants/local/conversations/c1/turns/t1"
    ran = trimtab("conversations", "trace", name, "--json", answers=ANSWERS)
    assert {asked[2] for asked in asked_of(ran)} == {"t1"}
    told = [(one["stage"], one["name"]) for one in ran.json["steps"] if not one["turn_id"]]
    assert told == [("reward.pairs", "p1"), ("retrain.runs", "p1")]


def test_a_completion_is_resolved_and_anything_else_is_a_conversation(trimtab: Any) -> None:
    def feedback(request: dict[str, str]) -> dict[str, Any]:
        if not request.get("completion_id"):
            return {"steps": []}
        if request["completion_id"] != "chatcmpl-1":
            raise NotFound("no such completion")
        return {"conversation_id": "c7", "turn_id": "t3"}

    answers = {**ANSWERS, "feedback.TraceConversation": feedback}
    ran = trimtab("conversations", "trace", "chatcmpl-1", "--json", answers=answers)
    assert (ran.json["conversation_id"], ran.json["turn_id"]) == ("c7", "t3")
    ran = trimtab("conversations", "trace", "c1", "--json", answers=answers)
    assert (ran.json["conversation_id"], ran.json["turn_id"]) == ("c1", "")


def test_what_nobody_knows_is_not_found_and_who_is_away_is_said(trimtab: Any) -> None:
    nothing: dict[str, Any] = {part: {"steps": []} for part in ANSWERS}
    assert trimtab("conversations", "trace", "c1", answers=nothing).code == 3
    some = {**ANSWERS, "retrain.TraceConversation": away("retrain")}
    ran = trimtab("conversations", "trace", "c1", answers=some)
    assert ran.code == 0
    assert "The steps of retrain are missing: retrain is not reachable" in ran.out


def test_what_the_gateway_still_holds_comes_first() -> None:
    held = [step("gateway.spool", "t1", "waiting"), step("gateway.spool", "t2", "waiting")]
    found = trace(
        TwinPlatform(dict(ANSWERS)), lambda _: held, "tenants/local/conversations/c1", "t1"
    )
    assert [one["stage"] for one in found.steps][:2] == ["gateway.spool", "interaction"]
    assert "t2" not in {one["turn_id"] for one in found.steps}

    def gone(_: str) -> list[dict[str, str]]:
        raise away("gateway")

    found = trace(TwinPlatform(dict(ANSWERS)), gone, "tenants/local/conversations/c1")
    assert found.away == {"gateway": "gateway is not reachable"}
