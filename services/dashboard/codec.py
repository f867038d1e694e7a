"""Answers of the services, JSON-shaped -> what the page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from services.dashboard.domain import (
    OUTCOMES,
    Alarm,
    Course,
    Courses,
    Figure,
    GateLine,
    GroupFigures,
    Passage,
    Persona,
    Personas,
    Point,
    Reason,
    Rollout,
    Run,
    Serving,
    Stage,
    Stream,
    Verdict,
)
from shared.language.policies import ASSISTANT

Json = dict[str, Any]


def passage(answer: Json) -> Passage:
    lag = {topic: int(records) for topic, records in sorted(answer["lag"].items())}
    return Passage(stages(answer["counts"]), lag, int(answer["outbox_pending"]))


def stages(counts: Iterable[Json]) -> tuple[Stage, ...]:
    """Counts by stage, in the order of their names; reasons with the most first."""
    by_stage: dict[str, list[Json]] = defaultdict(list)
    for count in counts:
        by_stage[count["stage"]].append(count)
    return tuple(_stage(name, by_stage[name]) for name in sorted(by_stage))


def _stage(name: str, counts: list[Json]) -> Stage:
    totals: dict[str, int] = defaultdict(int)
    for count in counts:
        totals[count["outcome"]] += int(count["count"])
    reasons = [
        Reason(count["outcome"], count["reason"], int(count["count"]))
        for count in counts
        if count["reason"] and count["outcome"] in OUTCOMES and int(count["count"])
    ]
    reasons.sort(key=lambda one: (OUTCOMES.index(one.outcome), -one.count, one.reason))
    return Stage(
        name,
        totals["taken"],
        totals["made"],
        totals["abstained"],
        totals["dropped"],
        totals["waiting"],
        tuple(reasons),
    )


def figure(estimate: Json | None) -> Figure:
    found = estimate or {}
    return Figure(
        found.get("name", ""),
        float(found.get("value", 0)),
        float(found.get("low", 0)),
        float(found.get("high", 0)),
        int(found.get("count", 0)),
        int(found.get("users", 0)),
        found.get("suite", ""),
        found.get("group", ""),
    )


def rollout(answer: Json) -> Rollout | None:
    """None before the registry has a first champion."""
    found = answer.get("rollout") or {}
    champion, canary = found.get("champion"), found.get("canary")
    if not champion:
        return None
    share = float(found["canary_share"]) if canary else 0.0
    step = found.get("step") or {}
    versions = [_serving("champion", champion, 1 - share, found.get("champion_dissatisfaction"))]
    if canary:
        versions.append(_serving("canary", canary, share, found.get("canary_dissatisfaction")))
    return Rollout(
        found["policy"] or ASSISTANT,
        int(found["revision"]),
        tuple(versions),
        found["words"],
        float(step["log_e_promote"]) if step else 0.0,
        float(found["log_e_worse"]),
        float(found["log_threshold"]),
        bool(canary),
        _groups(found),
        *_interests(found),
        tuple(one["words"] for one in found.get("left_out") or ()),
        tuple(f"{one['measure']}: {one['words']}" for one in _seen(found)),
        step["promote_when"].replace("_", " ") if step else "",
    )


def _seen(found: Json) -> list[Json]:
    """The measures of answers of which something is known."""
    measures = found.get("answers") or ()
    return [one for one in measures if figure(one["canary"]).count or figure(one["champion"]).count]


# By the state of a version.
_VERDICTS = {
    "CANARY": "under_way",
    "CHAMPION": "promoted",
    "ROLLED_BACK": "rolled_back",
    "REJECTED": "rolled_back",
}


def verdict(version: Json, served: Json) -> Verdict:
    """While it is a canary, `words` are the rollout's; then those of its last change. A version that retired
    was promoted, unless it never served."""
    state = version["state"].removeprefix("VERSION_STATE_")
    changes = version.get("changes", ())
    states = [one["state"].removeprefix("VERSION_STATE_") for one in changes]
    was = [one for one in states if one in ("CHAMPION", "ROLLED_BACK")]
    if state == "RETIRED" and was:
        state = was[-1]
    name = _VERDICTS.get(state, "not_begun")
    reason = changes[-1]["reason"] if changes else ""
    said = (served.get("rollout") or {}).get("words", "") if name == "under_way" else reason
    return Verdict(version["version"], name, said)


def _groups(found: Json) -> tuple[GroupFigures, ...]:
    figures = [
        GroupFigures(
            one["group"],
            one["verdict"].replace("_", " "),
            figure(one.get("canary_dissatisfaction")),
            figure(one.get("champion_dissatisfaction")),
        )
        for one in found.get("groups", ())
    ]
    order = ("worse", "untold", "not worse")
    return tuple(sorted(figures, key=lambda one: order.index(one.verdict)))


def _interests(found: Json) -> tuple[str, str]:
    """The rule, and what it does not promise."""
    interests = found.get("interests") or {}
    return interests.get("words", ""), interests.get("limits", "")


def policies(answer: Json) -> tuple[str, ...]:
    return tuple(last_segment(one["name"]) for one in answer.get("policies", ()))


def _serving(role: str, version: Json, share: float, estimate: Json | None) -> Serving:
    known = figure(estimate) if estimate and int(estimate.get("count", 0)) else None
    return Serving(role, version["version"], version["served_name"], share, known)


def run(found: Json) -> Run:
    trigger, snapshot = found.get("trigger") or {}, found.get("snapshot") or {}
    kind = _plain(trigger.get("kind", ""), "TRIGGER_KIND_")
    detail = trigger.get("detail", "")
    return Run(
        name=last_segment(found["name"]),
        policy=found["policy"] or ASSISTANT,
        state=_plain(found["state"], "RUN_STATE_"),
        trigger=f"{kind}: {detail}" if detail else kind,
        champion_version=found["champion_version"],
        model_version=found["model_version"],
        train_pairs=int(snapshot.get("train_pairs", 0)),
        verdict=found["verdict"].replace("_", " "),
        error=found["error"],
        progress=float(found["progress"]),
        progress_words=found["progress_words"],
        created=found.get("create_time") or "",
        gate=tuple(_gate_line(line) for line in found["gate"]),
        effects=tuple(found.get("effects", ())),
        gaps=tuple(found.get("gaps", ())),
        rule=_interests(found)[0],
        limits=_interests(found)[1],
    )


def _gate_line(line: Json) -> GateLine:
    return GateLine(
        figure(line.get("estimate")),
        line["rule"],
        float(line["threshold"]),
        line["verdict"].replace("_", " "),
        line["words"],
    )


def alarm(found: Json) -> Alarm:
    return Alarm(
        name=last_segment(found["name"]),
        stream=_stream_name(found),
        model_version=found["model_version"],
        direction=found["direction"],
        reference_mean=float(found["reference_mean"]),
        current=figure(found.get("current")),
        since_change=int(found["since_change"]),
        change_time=found.get("change_time") or "",
        created=found.get("create_time") or "",
        guarantee=found["guarantee"],
        examples=tuple(last_segment(name) for name in found["examples"]),
    )


def stream(found: Json) -> Stream:
    threshold = float(found["log_threshold"])
    evidence = float(found["log_e"]) / threshold if threshold > 0 else 0.0
    return Stream(
        _stream_name(found),
        found["model_version"],
        found["state"],
        int(found["observations"]),
        int(found["reference_observations"]),
        float(found["reference_mean"]),
        min(max(evidence, 0.0), 1.0),
    )


def _stream_name(found: Json) -> str:
    """A group's stream by another name, so that it is not taken for everyone's."""
    return f"{found['stream']} of {found['group']}" if found["group"] else str(found["stream"])


def courses(answer: Json) -> Courses:
    """Rates over time by version, versions in the order in which they came."""
    by_version: dict[str, list[Point]] = {}
    for bucket in answer.get("buckets", ()):
        count = int(bucket["count"])
        if count:
            users = int(bucket["users"])
            point = Point.of(bucket["start_time"], float(bucket["sum"]), count, users)
            by_version.setdefault(bucket["model_version"], []).append(point)
    found = tuple(Course(version, tuple(points)) for version, points in by_version.items())
    return Courses(found, int(answer.get("bucket_s", 0)))


def personas(answer: Json) -> Personas:
    newest = tuple(persona(one) for one in answer.get("personas", ()))
    return Personas(newest, int(answer.get("total_size", 0)))


def persona(found: Json) -> Persona:
    updated = found.get("update_time") or ""
    return Persona(found["user_id"], found["text"], int(found["version"]), updated)


def last_segment(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _plain(value: str, prefix: str) -> str:
    return value.removeprefix(prefix).replace("_", " ").lower()
