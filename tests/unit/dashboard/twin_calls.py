"""The services' answers in memory: a loop in the middle of a rollout, an empty one, one that is down."""

from __future__ import annotations

import json
import math
from typing import Any

from shared.calls.json_calls import call_of, decode, encode
from shared.language.errors import DeadlineExceeded, NotFound, Unavailable

Json = dict[str, Any]


def _counts(*stages: tuple[str, int, int, dict[str, dict[str, int]]]) -> list[Json]:
    counts = []
    for stage, taken, made, others in stages:
        rows = [("taken", "", taken), ("made", "", made)]
        for outcome, reasons in others.items():
            rows += [(outcome, reason, n) for reason, n in reasons.items()]
        counts += [
            {"stage": stage, "outcome": outcome, "reason": reason, "count": n}
            for outcome, reason, n in rows
        ]
    return counts


STAGES = {
    "interaction": _counts(("interaction", 5214, 5210, {"dropped": {"UNDECODABLE": 4}})),
    "feedback": _counts(
        ("feedback.turns", 5210, 2100, {"abstained": {"UNSURE": 310, "NOT_A_FOLLOW_UP": 2800}}),
        ("feedback.explicit", 240, 231, {"dropped": {"NEVER_LOGGED": 2}, "waiting": {"TURN": 7}}),
    ),
    "reward": _counts(("reward.pairs", 412, 390, {"abstained": {"HELD_OUT": 22}})),
    "drift": _counts(
        ("drift.feedback", 2338, 1980, {"abstained": {"EXPLICIT": 231, "NOT_JUDGED": 127}}),
        ("drift.reward", 2605, 2605, {}),
    ),
    "retrain": _counts(("retrain.pairs", 390, 390, {})),
    "evaluation": [],
    "registry": _counts(("registry.feedback", 2338, 410, {"abstained": {"NO_ROLLOUT": 1928}})),
}


def _estimate(name: str, value: float, low: float, high: float, count: int) -> Json:
    return {
        "name": name,
        "value": value,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "count": count,
        "users": max(1, count // 3),
    }


def _group(name: str, verdict: str, canary: float, champion: float) -> Json:
    return {
        "group": name,
        "verdict": verdict,
        "canary_dissatisfaction": _estimate("dissatisfaction", canary, canary, canary, 12),
        "champion_dissatisfaction": _estimate("dissatisfaction", champion, champion, champion, 15),
    }


def _measure(name: str, canary: float, champion: float, count: int, words: str) -> Json:
    return {
        "measure": name,
        "canary": _estimate(name, canary, canary, canary, count),
        "champion": _estimate(name, champion, champion, champion, count),
        "log_e_worse": 0.1,
        "log_threshold": 4.1,
        "words": words,
    }


def _version(version: str, served: str) -> Json:
    return {"name": f"modelVersions/{version}", "version": version, "served_name": served}


ROLLOUT = {
    "revision": 3,
    "champion": _version("assistant-v0", "smollm2-135m-instruct"),
    "canary": _version("assistant-v1", "assistant-v1"),
    "canary_share": 0.3,
    "champion_dissatisfaction": _estimate("dissatisfaction", 0.88, 0.81, 0.93, 120),
    "canary_dissatisfaction": _estimate("dissatisfaction", 0.22, 0.13, 0.35, 54),
    "log_e_better": 2.6,
    "step": {"number": 2, "count": 3, "promote_when": "not_worse", "log_e_promote": 2.4},
    "log_e_worse": -4.0,
    "log_threshold": 3.0,
    "interests": {
        "words": "no_group_worse (the default; nobody chose it)",
        "limits": "a gain is given up",
    },
    "groups": [
        _group("shorter", "not_worse", 0.1, 0.9),
        _group("plan=free", "untold", 0.4, 0.5),
        _group("longer <b>", "worse", 0.8, 0.1),
    ],
    "answers": [
        _measure(
            "errors", 0.02, 0.01, 90, "the first answer failed for 2 of 90 users on the canary"
        ),
        _measure("latency", 0, 0, 0, "of 0 pairs of users"),
        _measure("reward", 0.1, 0.6, 40, "of 40 pairs of users, the canary's has the lower in 4"),
    ],
    "words": "assistant-v1 looks better; evidence 13 of the 20 that promote it.",
}


def _check(name: str, value: float, low: float, high: float, rule: str, verdict: str) -> Json:
    words = f"{name} is {value:g}; the rule was set before the run."
    return {
        "estimate": _estimate(name, value, low, high, 60),
        "rule": rule,
        "threshold": 0.5,
        "verdict": verdict,
        "words": words,
    }


def _run(name: str, state: str, verdict: str, gate: list[Json], **more: Any) -> Json:
    return {
        "name": f"runs/{name}",
        "state": f"RUN_STATE_{state}",
        "trigger": {"kind": "TRIGGER_KIND_DRIFT", "detail": "alarms/a1"},
        "champion_version": "assistant-v0",
        "snapshot": {"train_pairs": 119, "held_out_pairs": 31},
        "verdict": verdict,
        "gate": gate,
        "create_time": "2026-11-20T12:20:05Z",
        **more,
    }


RUNS = [
    _run("r2", "TRAIN", "", [], progress=0.4, progress_words="step 12 of 30, margin 0.9"),
    _run(
        "r1",
        "SUCCEEDED",
        "passed",
        [
            _check("held_out_pair_accuracy", 0.81, 0.69, 0.89, "low >= 0.5", "pass"),
            _check("win_rate", 0.64, 0.52, 0.75, "low >= 0.5", "pass"),
            _check("sycophancy", 0.1, 0.03, 0.21, "high <= 0.3", "pass"),
            _check("over_refusal", 0.05, 0.01, 0.4, "high <= 0.3", "not_enough_evidence"),
        ],
        model_version="assistant-v1",
        effects=["hurt: people who prefer longer: 10%", "helped: people who prefer shorter: 90%"],
        interests={"words": "mean (chosen by ada: a trial)", "limits": "groups may lose"},
    ),
]
ALARM = {
    "name": "alarms/a1",
    "stream": "dissatisfaction",
    "tenant": "local",
    "model_version": "assistant-v0",
    "direction": "up",
    "detector": "e-shiryaev-roberts",
    "log_e": 8.2,
    "log_threshold": 7.6,
    "reference_mean": 0.0875,
    "current": _estimate("dissatisfaction", 1.0, 0.72, 1.0, 10),
    "observations": 214,
    "since_change": 10,
    "change_time": "2026-11-20T12:17:20Z",
    "create_time": "2026-11-20T12:18:00Z",
    "guarantee": "A false alarm comes after 2000 conversations or more in the mean.",
    "examples": ["tenants/local/conversations/c120", "tenants/local/conversations/c121"],
}
STREAMS = [
    {
        "stream": stream,
        "tenant": "local",
        "model_version": "assistant-v0",
        "state": state,
        "observations": 214,
        "reference_observations": 80,
        "reference_mean": mean,
        "log_e": log_e,
        "log_threshold": 7.6,
    }
    for stream, state, mean, log_e in (
        ("dissatisfaction", "alarmed", 0.0875, 8.2),
        ("novelty", "watching", 0.41, 2.2),
        ("reward", "learning", 0.0, 0.0),
    )
]
BUCKETS = [
    {
        "start_time": f"2026-11-20T12:{minute:02d}:00Z",
        "model_version": version,
        "count": 12,
        "sum": round(12 * rate(minute), 1),
        "users": 9,
    }
    for version, minutes, rate in (
        ("assistant-v0", range(2, 40), lambda m: (0.1 if m < 17 else 0.9) + 0.05 * math.sin(m)),
        ("assistant-v1", range(28, 40), lambda m: 0.2 + 0.06 * math.sin(m)),
    )
    for minute in minutes
]
PERSONAS = [
    {
        "tenant": "local",
        "user_id": f"user-{number}",
        "text": "Wants answers of at most two sentences; writes about cooking and travel.",
        "version": 2,
        "update_time": "2026-11-20T12:19:00Z",
    }
    for number in range(4)
]
FULL = {
    "ListPolicies": {"policies": [{"name": "tenants/local/policies/assistant"}]},
    "GetRollout": {"rollout": ROLLOUT},
    "ListRuns": {"runs": RUNS},
    "ListAlarms": {"alarms": [ALARM]},
    "ListStreams": {"streams": STREAMS},
    "ListBuckets": {"buckets": BUCKETS, "bucket_s": 60},
    "ListPersonas": {"personas": PERSONAS, "total_size": 31},
}


class TwinCalls:
    """Answers go through the real messages, so that a wrong field name fails here too."""

    def __init__(self, answers: Json, stages: dict[str, list[Json]], down: bool = False) -> None:
        self._answers, self._stages, self._down = answers, stages, down
        self.slow = False
        self.asked: list[tuple[str, str, Json]] = []

    async def call(self, part: str, method: str, request: Json) -> Json:
        self.asked.append((part, method, request))
        if self.slow:
            raise DeadlineExceeded(f"{part} did not answer within 2 s")
        if self._down:
            raise Unavailable(f"{part} is not reachable")
        call = call_of(part, method)
        encode(call, request)
        if method == "GetStageCounts":
            lag = {"interaction.logged.v1": 12} if part == "feedback" else {"feedback.mined.v1": 0}
            counts = self._stages.get(part, [])
            answer: Json = {"service": part, "counts": counts, "lag": lag if counts else {}}
        elif not self._answers and method == "GetRollout":
            raise NotFound("no version is registered")
        else:
            known = self._answers.get(method, {})
            answer = known(request) if callable(known) else known
        return decode(call.response.FromString(_packed(call, answer)))

    async def answers(self, part: str) -> None:
        if self._down:
            raise Unavailable(f"{part} is not reachable")


def _packed(call: Any, answer: Json) -> bytes:
    from google.protobuf.json_format import ParseDict

    return bytes(ParseDict(answer, call.response()).SerializeToString())


def full() -> TwinCalls:
    return TwinCalls(FULL, STAGES)


def many() -> TwinCalls:
    """A tenant with three policies, of which `support` and `support-eu` have what `assistant` has."""
    names = ("assistant", "support", "support-eu")

    def of(policy: str) -> Any:
        return json.loads(json.dumps(FULL).replace("assistant-v", f"{policy}-v"))

    def rollout(request: Json) -> Json:
        policy = request["policy"] or "assistant"
        return {"rollout": {**of(policy)["GetRollout"]["rollout"], "policy": policy}}

    def runs(request: Json) -> Json:
        wanted = [name for name in names if request["policy"] in ("", name)]
        return {
            "runs": [
                {**run, "policy": name} for name in wanted for run in of(name)["ListRuns"]["runs"]
            ]
        }

    def lists(method: str, field: str) -> Json:
        first = of(names[0])[method]
        return {**first, field: [one for name in names for one in of(name)[method][field]]}

    answers = {
        **FULL,
        "ListPolicies": {
            "policies": [{"name": f"tenants/local/policies/{name}"} for name in names]
        },
        "GetRollout": rollout,
        "ListRuns": runs,
        "ListAlarms": lists("ListAlarms", "alarms"),
        "ListStreams": lists("ListStreams", "streams"),
        "ListBuckets": lists("ListBuckets", "buckets"),
    }
    return TwinCalls(answers, STAGES)


def empty() -> TwinCalls:
    return TwinCalls({}, {})


def down() -> TwinCalls:
    return TwinCalls({}, {}, down=True)
