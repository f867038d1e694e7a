"""Command lines over twin ports: what is asked, the JSON, the tables, the exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.cli.main import hoist
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound, Unauthenticated
from tests.unit.cli.twins import CHAMPION, away

COUNTS = [
    {"stage": "feedback.turns", "outcome": "taken", "count": 10},
    {"stage": "feedback.turns", "outcome": "made", "count": 6},
    {"stage": "feedback.turns", "outcome": "abstained", "reason": "UNSURE", "count": 3},
    {"stage": "feedback.turns", "outcome": "waiting", "reason": "TURN", "count": 1},
]
RUN = {
    "name": "runs/r1",
    "state": "RUN_STATE_SUCCEEDED",
    "trigger": {"kind": "TRIGGER_KIND_DRIFT", "detail": "alarms/a1"},
    "champion_version": "assistant-v0",
    "model_version": "assistant-v1",
    "verdict": "passed",
    "objective": "dpo",
    "snapshot": {
        "digest": "d" * 64,
        "train_pairs": 119,
        "train_users": 33,
        "held_out_pairs": 31,
        "largest_user_share": 0.125,
        "left_out": {"USER_SHARE": 4, "TOO_OLD": 2},
        "pairs_by_group": {"shorter": 90, "longer": 20, "unknown": 9},
        "users_by_group": {"shorter": 20, "longer": 10, "unknown": 3},
    },
    "training_counts": {"PROMPT_CUT": 3, "ANSWER_CUT": 1},
    "gate": [
        {
            "estimate": {"name": "win_rate", "value": 0.64, "low": 0.52, "high": 0.75, "count": 60},
            "rule": "low >= 0.5",
            "threshold": 0.5,
            "verdict": "pass",
            "words": "better than the champion",
        }
    ],
}


def test_json_and_tenant_may_stand_anywhere() -> None:
    assert hoist(["--json", "drift", "list"]) == (["drift", "list"], True, "")
    assert hoist(["drift", "--tenant", "acme", "list", "--json"]) == (
        ["drift", "list"],
        True,
        "acme",
    )
    assert hoist(["import", "--", "--json"]) == (["import", "--", "--json"], False, "")


def test_status_adds_up_each_stage(trimtab: Any) -> None:
    answers = {"feedback.GetStageCounts": {"counts": COUNTS, "lag": {"interaction.logged.v1": 12}}}
    ran = trimtab("status", "--json", answers=answers)
    assert ran.code == 0
    assert [one["up"] for one in ran.json["parts"]] == [True] * 12
    assert ran.json["lag"] == [
        {"service": "feedback", "topic": "interaction.logged.v1", "lag": "12"}
    ]
    assert ran.json["stages"][2] == {
        "service": "feedback",
        "stage": "feedback.turns",
        "outcome": "abstained",
        "reason": "UNSURE",
        "count": "3",
    }
    assert ran.json["rollout"]["canary"]["version"] == "assistant-v1"
    text = trimtab("status", answers=answers).out
    assert " ".join(text.split()).count("feedback.turns 10 6 3 0 1 yes") == 1
    assert "0.88 [0.81, 0.93] of 120 from 40 users" in text


def test_status_of_what_is_away_says_so_and_exits_with_4(trimtab: Any) -> None:
    answers = {"drift.Check": away("drift"), "registry.Check": away("registry")}
    answers["registry.GetRollout"] = answers["registry.ListPolicies"] = away("registry")
    ran = trimtab("--json", "status", answers=answers, down=("kafka",))
    assert ran.code == 4
    down = {one["name"]: one["detail"] for one in ran.json["parts"] if not one["up"]}
    assert down == {
        "drift": "drift is not reachable",
        "registry": "registry is not reachable",
        "kafka": "kafka: Connection refused",
    }
    assert (ran.json["rollout"], ran.json["policies"]) == (None, [])


def test_lists_go_on_page_by_page_up_to_the_limit(trimtab: Any) -> None:
    def pages(request: dict[str, Any]) -> dict[str, Any]:
        start = int(request["page_token"] or 0)
        ids = range(start, min(start + request["page_size"], start + 2))
        found = [{"conversation_id": f"c{number}", "turn_count": 4} for number in ids]
        return {"conversations": found, "next_page_token": str(start + 2)}

    ran = trimtab(
        "conversations", "list", "--limit", "5", "--json", answers={"ListConversations": pages}
    )
    assert ran.code == 0
    names = [one["conversation_id"] for one in ran.json["conversations"]]
    assert names == ["c0", "c1", "c2", "c3", "c4"]
    assert [request["page_size"] for _, _, request in ran.platform.asked] == [5, 3, 1]


def test_a_conversation_is_shown_turn_by_turn(trimtab: Any) -> None:
    turn = {
        "index": 1,
        "model_version": "assistant-v0",
        "message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "[hi] there"}}]},
    }
    answer = {
        "conversation": {"name": "tenants/acme/conversations/c1"},
        "turns": [turn],
        "assessments": [{"name": "toxicity", "value": 0.97, "evaluator": "EVAL", "turn_id": "t1"}],
    }
    ran = trimtab(
        "conversations", "show", "c1", "--tenant", "acme", answers={"GetConversation": answer}
    )
    assert ran.platform.asked[0][2] == {"name": "tenants/acme/conversations/c1"}
    assert "1 assistant (assistant-v0)\n[hi] there" in ran.out
    assert "evaluator by EVAL: toxicity of t1: 0.97" in ran.out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotFound("no run r9"), 3, "error: NOT_FOUND: no run r9. Next: the matching `list`"),
        (
            away("retrain"),
            4,
            "error: SERVICE_AWAY: retrain is not reachable. Next: `trimtab status`",
        ),
        (
            InvalidArgument("bad name"),
            2,
            "error: INVALID_ARGUMENT: bad name. Next: the command's `--help`",
        ),
        (Unauthenticated("no key"), 1, "error: UNAUTHENTICATED: no key. Next: set TRIMTAB_KEY"),
        (FailedPrecondition("it ended"), 1, "error: FAILED_PRECONDITION: it ended. Next:"),
    ],
)
def test_errors_are_one_line_with_what_to_do(
    trimtab: Any, error: Exception, code: int, said: str
) -> None:
    ran = trimtab("retrain", "show", "r9", answers={"GetRun": error})
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1
    scripted = json.loads(trimtab("retrain", "show", "r9", "--json", answers={"GetRun": error}).err)
    assert set(scripted["error"]) == {"reason", "message", "next"}


def test_a_run_is_shown_with_its_gate(trimtab: Any) -> None:
    counted = {**RUN, "gate_attempt": 3, "gate_confidence": 1 - 0.05 / 12}
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": counted}})
    text = " ".join(shown.out.split())
    assert (
        "attempt 3 against assistant-v0: the gate requires intervals at a confidence of 0.9958"
        in text
    )
    assert "runs/r1 succeeded passed" in text
    assert "119 pairs of 33 users to train on, 31 held out; the largest user's share is 12%" in text
    assert "left out: 2 TOO_OLD, 4 USER_SHARE" in text
    by_group = (
        "longer 20 pairs of 10 users, shorter 90 pairs of 20 users, unknown 9 pairs of 3 users"
    )
    assert f"by group: {by_group}" in text
    assert "in training: 1 ANSWER_CUT, 3 PROMPT_CUT" in text
    assert "win_rate 0.64 0.52 to 0.75 60 low >= 0.5 pass better than the champion" in text


def test_a_run_begins_with_whom_it_helped_and_whom_it_hurt(trimtab: Any) -> None:
    effects = ["hurt: people who prefer longer: 10%", "helped: people who prefer shorter: 90%"]
    mean = {"words": "mean (chosen by ada: a trial)", "limits": "groups may lose"}
    told = {**RUN, "effects": effects, "interests": mean, "gaps": ["some would lose"]}
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": told}})
    lines = shown.out.splitlines()
    assert lines[:2] == effects
    assert lines[2].startswith("runs/r1  succeeded  passed")
    text = " ".join(shown.out.split())
    assert "conflicts of interest: mean (chosen by ada: a trial)" in text
    assert (
        "what this does not promise: groups may lose for people to decide: some would lose" in text
    )


def test_watch_follows_a_run_to_its_end(trimtab: Any) -> None:
    states = iter(["TRAIN", "TRAIN", "GATE", "REJECTED"])

    def run(_: dict[str, Any]) -> dict[str, Any]:
        return {"run": {**RUN, "state": f"RUN_STATE_{next(states)}", "progress": 0.5}}

    ran = trimtab("retrain", "watch", "r1", answers={"GetRun": run})
    assert ran.code == 1
    assert ran.waited == [1.0, 1.0, 1.0]
    lines = ran.out.splitlines()[:3]
    assert [line.strip() for line in lines] == ["train 50%", "gate 50%", "rejected 50%"]


def test_start_gives_the_operation_and_waits_if_asked(trimtab: Any) -> None:
    metadata = {"@type": "type.googleapis.com/trimtab.retrain.v1.RunMetadata", "run": RUN}
    answers = {
        "StartRetrain": {"name": "operations/o1", "metadata": metadata},
        "GetRun": {"run": RUN},
    }
    ran = trimtab("retrain", "start", "--reason", "why not", "--json", answers=answers)
    assert ran.code == 0
    assert ran.json["metadata"]["run"]["name"] == "runs/r1"
    assert ran.platform.asked[0][2]["reason"].endswith(": why not")
    waited = trimtab("retrain", "start", "--wait", "--json", answers=answers)
    assert (waited.code, waited.json["verdict"]) == (0, "passed")
    named = trimtab("retrain", "start", "--recipe", "kto", "--json", answers=answers)
    assert named.platform.asked[0][2]["recipe"] == "kto"


def test_a_run_says_what_it_was_trained_by(trimtab: Any) -> None:
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": RUN}})
    assert "recipe: the policy's own (objective dpo)" in shown.out
    told = {**RUN, "recipe": "careful", "recipe_version": 2, "objective": "robust_dpo"}
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": told}})
    assert "recipe: careful v2 (objective robust_dpo)" in shown.out
    assert "held to" not in shown.out
    history = [{"version": "assistant-v3", "adapter_path": "a/v3"}, {"version": "assistant-v0"}]
    shown = trimtab(
        "retrain", "show", "r1", answers={"GetRun": {"run": RUN | {"history": history}}}
    )
    assert "held to: assistant-v3, assistant-v0 (the base model)" in shown.out
    of_groups = {
        "group_margins": {"shorter": 1.626, "longer": 0.5},
        "preference": {"shorter": 0.75, "longer": 0.25},
    }
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": RUN | of_groups}})
    assert "margin at the end, by group: longer 0.50, shorter 1.63" in shown.out
    assert "groups are weighed: longer 25%, shorter 75%" in shown.out


def test_recipes_are_listed_with_when_to_take_them_and_what_they_need(trimtab: Any) -> None:
    cut = {
        "name": "cut",
        "version": 1,
        "when": "users said what was wrong",
        "data": "pairs with a judgment",
        "sources": ["user_guided_rewrite", "demonstration"],
    }
    dpo = {"name": "dpo", "version": 3, "when": "the pairs can be trusted", "data": "pairs"}
    answers = {"ListRecipes": {"recipes": [cut, {**dpo, "sources": []}]}}
    ran = trimtab("retrain", "recipes", answers=answers)
    text = " ".join(ran.out.split())
    assert "cut v1 users said what was wrong" in text
    assert "pairs with a judgment; of user_guided_rewrite, demonstration" in text
    assert "dpo v3 the pairs can be trusted pairs" in text
    as_json = trimtab("retrain", "recipes", "--json", answers=answers)
    assert [one["name"] for one in as_json.json["recipes"]] == ["cut", "dpo"]


def test_promotion_needs_a_reason(trimtab: Any) -> None:
    assert trimtab("models", "promote", "assistant-v1").code == 2
    ran = trimtab(
        "models",
        "promote",
        "assistant-v1",
        "--reason",
        "reviewed",
        "--revision",
        "3",
        answers={"PromoteVersion": CHAMPION},
    )
    assert ran.code == 0
    _, _, request = ran.platform.asked[0]
    assert (request["version"], request["reason"]) == ("assistant-v1", "reviewed")
    assert request["revision"] == 3
    assert "revision 2:" in ran.out
    assert request["actor"]


def test_verify_says_what_each_replica_serves_and_fails_if_it_is_something_else(
    trimtab: Any,
) -> None:
    good = {"replica": "http://one", "serves": "SERVES_AS_TRAINED", "words": "as it was trained"}
    unproved = {"replica": "http://two", "serves": "SERVES_UNPROVED", "words": "one token came"}
    wrong = {"replica": "http://two", "serves": "SERVES_BASE_MODEL", "words": "the base model"}
    ran = trimtab("models", "verify", "v1", answers={"VerifyVersion": {"proofs": [good, unproved]}})
    assert ran.code == 0
    assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [
        ["http://one", "as"],
        ["http://two", "unproved"],
    ]
    ran = trimtab("models", "verify", "v1", answers={"VerifyVersion": {"proofs": [good, wrong]}})
    assert ran.code == 1
    assert "http://two  base model  the base model" in ran.out
    assert ran.platform.asked[0][2] == {"version": "v1"}


def test_a_version_is_retired_restored_and_let_on_with_a_reason(trimtab: Any) -> None:
    assert trimtab("models", "retire", "assistant-v1").code == 2
    words = {"words": "assistant-v1 is retired"}
    ran = trimtab(
        "models", "retire", "assistant-v1", "--reason", "rude", answers={"RetireVersion": words}
    )
    assert (ran.code, ran.out.strip()) == (0, "assistant-v1 is retired")
    request = ran.platform.asked[0][2]
    assert (request["version"], request["reason"]) == ("assistant-v1", "rude")
    assert request["actor"]
    proof = {"replica": "http://one", "serves": "SERVES_AS_TRAINED", "words": "as it was trained"}
    ran = trimtab(
        *("models", "restore", "assistant-v1", "--reason", "to compare"),
        answers={"RestoreVersion": {"proofs": [proof]}},
    )
    assert "http://one  as trained  as it was trained" in ran.out
    assert ran.platform.asked[0][2]["override_gate"] is False
    ran = trimtab(
        *("models", "restore", "assistant-v1", "--override-gate", "--reason", "we read it"),
        answers={"RestoreVersion": {"proofs": [proof]}},
    )
    assert ran.platform.asked[0][2]["override_gate"] is True
    ran = trimtab(
        *("models", "advance", "--reason", "read", "--policy", "support", "--revision", "4"),
        answers={"AdvanceRollout": {"revision": "5", "words": "step 2 of 3"}},
    )
    assert ran.out.strip() == "revision 5: step 2 of 3"
    _, _, request = ran.platform.asked[0]
    assert (request["policy"], request["revision"], request["reason"]) == ("support", 4, "read")


def test_how_a_canary_answers_is_said_as_far_as_anything_is_known(trimtab: Any) -> None:
    served = json.loads(json.dumps(CHAMPION))
    known, none = {"count": "9"}, {"count": "0"}
    served["rollout"]["answers"] = [
        {"measure": "errors", "canary": known, "champion": none, "words": "0 of 9 failed"},
        {"measure": "latency", "canary": none, "champion": none, "words": "of 0 pairs"},
    ]
    ran = trimtab("models", "list", answers={"ListVersions": {}, "GetRollout": served})
    assert "errors: 0 of 9 failed" in ran.out
    assert "latency" not in ran.out


def test_a_replica_that_is_left_out_is_said_with_what_serves(trimtab: Any) -> None:
    served = json.loads(json.dumps(CHAMPION))
    served["rollout"]["left_out"] = [{"words": "http://two serves the base model as v1"}]
    ran = trimtab("models", "list", answers={"ListVersions": {}, "GetRollout": served})
    assert ran.out.rstrip().endswith("not as trained: http://two serves the base model as v1")


def test_models_drift_feedback_and_dead_letters_are_listed(trimtab: Any) -> None:
    versions = {"versions": [{"version": "assistant-v1", "state": "VERSION_STATE_CANARY"}]}
    ran = trimtab("models", "list", answers={"ListVersions": versions})
    assert "assistant-v1  canary" in ran.out
    streams = {"streams": [{"stream": "reward", "state": "watching", "log_threshold": 7.6009}]}
    assert "1 of 2e+03" in trimtab("drift", "streams", answers={"ListStreams": streams}).out
    alarms = {"alarms": [{"name": "alarms/a1", "stream": "reward", "direction": "down"}]}
    ran = trimtab("drift", "list", "--json", answers={"ListAlarms": alarms})
    assert ran.json["alarms"][0]["direction"] == "down"
    groups = {"alarms": [{"name": "alarms/a2", "stream": "reward", "group": "longer"}]}
    assert " longer " in trimtab("drift", "list", answers={"ListAlarms": groups}).out
    both = [{"stream": "reward"}, {"stream": "reward", "group": "longer"}]
    lines = trimtab("drift", "streams", answers={"ListStreams": {"streams": both}}).out.splitlines()
    assert [line.split()[1] for line in lines] == ["of", "everyone", "longer"]
    mined = {"feedback": [{"kind": "FOLLOW_UP_KIND_POSITIVE", "dissatisfaction": 0.04}]}
    assert "positive  " in trimtab("feedback", "list", answers={"ListFeedback": mined}).out
    waits = {
        "feedback": {"completion_id": "x-1", "comment": "why?"},
        "arrive_time": "2026-11-20T12:00:00Z",
    }
    answers = {"ListWaitingFeedback": {"waiting": [waits]}}
    assert "x-1" in trimtab("feedback", "waiting", answers=answers).out
    letters = {"dead_letters": [{"partition": 1, "offset": 7, "reason": "UNDECODABLE"}]}
    line = ("deadletters", "list", "--service", "feedback", "--topic", "feedback.given.v1")
    assert "1/7" in trimtab(*line, answers={"ListDeadLetters": letters}).out
    assert trimtab("deadletters", "list", "--service", "mood", "--topic", "x").code == 2


def test_every_command_teaches_by_example(trimtab: Any) -> None:
    groups = {
        "conversations": ("list", "show"),
        "feedback": ("list", "waiting", "personas", "pairs", "heads", "judge"),
        "groups": ("list", "show", "members", "history", "correct"),
        "personas": ("show", "history", "correct", "freeze", "unfreeze", "delete"),
        "policies": ("create", "list", "show", "update", "delete"),
        "retrain": ("start", "list", "preview", "recipes", "show", "report", "watch", "cancel"),
        "models": (
            *("list", "show", "lineage", "compare", "verify"),
            *("advance", "promote", "rollback", "retire", "restore"),
        ),
        "drift": ("list", "streams"),
        "reward": ("models", "fit", "score"),
        "deadletters": ("list", "replay"),
    }
    lines: list[tuple[str, ...]] = [("status",), ("import",)]
    lines += [(group, command) for group, commands in groups.items() for command in commands]
    for line in lines:
        ran = trimtab(*line, "--help")
        assert ran.code == 0
        assert f"trimtab {' '.join(line)}" in ran.out.split("Example", 1)[1]
