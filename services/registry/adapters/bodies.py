"""Versions, rollouts and policies as JSON text. Whose they are, and a version's number, are other columns."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from services.registry.domain.answers import AnswerTests
from services.registry.domain.groups import GroupTest, Part
from services.registry.domain.policies import Policy
from services.registry.domain.rollouts import LeftOut, Rollout, RolloutRules
from services.registry.domain.versions import Change, State, Version
from shared.language.groups import Composition
from shared.language.interests import Interests
from shared.language.policies import PolicyKey
from shared.statistics.betting import START, Arm, RolloutTest

_VERSION = TypeAdapter(Version)
_ROLLOUT = TypeAdapter(Rollout)
_POLICY = TypeAdapter(Policy)
_INTERESTS = TypeAdapter(Interests)
_RULES = TypeAdapter(RolloutRules)
_ANSWERS = TypeAdapter(AnswerTests)
# In columns; `version` was in the body of former rows.
_BESIDE = ("key", "number", "place", "version")


def version_body(version: Version) -> str:
    return _dumped(_VERSION.dump_python(version, exclude=set(_BESIDE)))


def read_version(row: Any) -> Version:
    values = {name: one for name, one in json.loads(row.body).items() if name not in _BESIDE}
    changes = tuple(
        Change(State(c["state"]), c["actor"], c["reason"], datetime.fromisoformat(c["time"]))
        for c in values.pop("changes")
    )
    state = State(values.pop("state"))
    time = datetime.fromisoformat(values.pop("create_time"))
    composition = values.pop("composition", None)
    return Version(
        **values,
        key=_key(row),
        number=row.number,
        place=row.place,
        state=state,
        create_time=time,
        changes=changes,
        composition=Composition.kept(composition) if composition else None,
    )


def rollout_body(rollout: Rollout) -> str:
    return _dumped(_ROLLOUT.dump_python(rollout, exclude={"key"}))


def read_rollout(row: Any) -> Rollout:
    values = json.loads(row.body)
    start, test, rules = values.pop("start_time"), values.pop("test"), values.pop("rules", None)
    interests, groups = values.pop("interests", {}), values.pop("groups", [])
    step_time = values.pop("step_time", None)
    served, parts = values.pop("served", None), values.pop("parts", [])
    answers = values.pop("answers", {})
    return Rollout(
        **{**values, "champions": tuple(values["champions"])}
        | {"expected": tuple(values.get("expected", ()))}
        | {"left_out": tuple(LeftOut(**one) for one in values.get("left_out", ()))}
        | {"update_time": datetime.fromisoformat(values["update_time"])},
        key=_key(row),
        start_time=datetime.fromisoformat(start) if start else None,
        step_time=datetime.fromisoformat(step_time) if step_time else None,
        rules=_RULES.validate_python(rules) if rules else None,
        test=_test(test),
        interests=_INTERESTS.validate_python(interests),
        groups=_groups(groups),
        answers=_ANSWERS.validate_python(answers),
        parts=tuple(Part(p["name"], _test(p["test"]), _groups(p["groups"])) for p in parts),
        served=(Composition.kept(served[0]), Composition.kept(served[1])) if served else None,
    )


def policy_body(policy: Policy) -> str:
    return _POLICY.dump_json(policy).decode()


def read_policy(row: Any) -> Policy:
    return _POLICY.validate_json(row.body)


def _key(row: Any) -> PolicyKey:
    return PolicyKey(row.tenant, row.policy)


def _groups(values: list[dict[str, Any]]) -> tuple[GroupTest, ...]:
    return tuple(GroupTest(one["name"], _test(one["test"])) for one in values)


def _test(values: dict[str, Any]) -> RolloutTest:
    return RolloutTest(
        champion=_arm(values["champion"]),
        canary=_arm(values["canary"]),
        pairs=values["pairs"],
        log_better=tuple(values["log_better"]),
        log_worse=tuple(values["log_worse"]),
        log_not_worse=tuple(values.get("log_not_worse", START)),
    )


def _arm(values: dict[str, Any]) -> Arm:
    return Arm(values["users"], values["total"], tuple(values["waiting"]))


def _dumped(values: dict[str, Any]) -> str:
    return json.dumps(values, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no plain form")
