"""Domain <-> protobuf."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from services.retrain.domain.effects import effects, gaps
from services.retrain.domain.following import may_be_followed
from services.retrain.domain.objectives import PURPOSES
from services.retrain.domain.policies import Policy
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.report import Report, document
from services.retrain.domain.runs import Alarm, GateCheck, Run, RunStep, Tried
from services.retrain.domain.selection import calls_a_tool
from services.retrain.domain.snapshots import Persona, Snapshot
from services.retrain.ports import Contest
from shared.contracts.estimates import encode_estimate
from shared.contracts.messages import write_message
from shared.contracts.pairs import decode_pair, encode_pair
from shared.contracts.people import decode_interests, encode_composition, encode_interests
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.examples import Example
from shared.language.identifiers import parse_name, stable_id
from shared.language.messages import text_message
from shared.language.pairs import Pair
from shared.language.policies import PolicyKey, check_policy_id
from shared.language.topics import RETRAIN_COMPLETED
from shared.log.events import Event
from shared.telemetry.spans import trace_headers

# Whose word it is: not a model's.
_SAID_BY_USERS = (events_pb2.FEEDBACK_SOURCE_FOLLOW_UP, events_pb2.FEEDBACK_SOURCE_EXPLICIT)


def decode_mined(pair: events_pb2.PreferencePair) -> Pair:
    """Drops the evidence, which training does not use. Raises InvalidArgument for a pair without id, tenant,
    user, prompt or time, or with a policy that cannot be one's id."""
    required = (
        ("pair_id", pair.pair_id),
        ("tenant", pair.tenant),
        ("user_id", pair.user_id),
        ("prompt", pair.prompt),
        ("create_time", pair.HasField("create_time")),
    )
    for field, value in required:
        if not value:
            raise InvalidArgument(f"the pair has no {field}", reason="INCOMPLETE_PAIR", field=field)
    policy = check_policy_id(pair.policy)
    return replace(decode_pair(pair), policy=policy, evidence=())


def decode_praise(mined: events_pb2.FeedbackMined) -> tuple[Pair | None, str]:
    """(the praised answer, as a pair without a rejected one; why there is none). Raises InvalidArgument for
    praise without id, tenant, user or time, or with a policy that cannot be one's id."""
    if mined.abstained or mined.kind != events_pb2.FOLLOW_UP_KIND_POSITIVE:
        return None, "NO_PRAISE"
    if mined.source not in _SAID_BY_USERS:
        return None, "NOT_SAID"
    pair = events_pb2.PreferencePair(
        pair_id=mined.feedback_id,
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        prompt=mined.context,
        chosen=mined.answer,
        confidence=mined.satisfaction,
        model_version=mined.model_version,
        create_time=mined.create_time if mined.HasField("create_time") else None,
        policy=mined.policy,
        groups=mined.groups,
    )
    if not (pair.prompt and mined.HasField("answer")):
        return None, "NO_REQUEST"
    write_message(text_message("assistant", ""), pair.rejected)
    praised = decode_mined(pair)
    if not praised.chosen.text.strip() or calls_a_tool(praised.chosen):
        return None, "NO_ANSWER_IN_WORDS"
    return (None, "HELD_OUT_USER") if praised.is_held_out else (praised, "")


def decode_persona(persona: events_pb2.Persona, told: datetime) -> Persona:
    """`told` is when the persona was published. Raises InvalidArgument for a persona without a user."""
    if not persona.user_id:
        raise InvalidArgument("the persona has no user", reason="INCOMPLETE_PERSONA")
    return Persona(persona.tenant, persona.user_id, persona.text, persona.version, told)


def decode_alarm(alarm: events_pb2.Alarm) -> Alarm:
    if not alarm.name:
        raise InvalidArgument("the alarm has no name", reason="INCOMPLETE_ALARM", field="name")
    if not alarm.tenant:
        raise InvalidArgument("the alarm has no tenant", reason="INCOMPLETE_ALARM", field="tenant")
    return Alarm(
        alarm.name, alarm.stream, alarm.direction, alarm.model_version, alarm.tenant, alarm.group
    )


def decode_policy(policy: registry_pb2.Policy) -> Policy:
    """Fields that are not set are left out: the deployment's settings apply."""
    tenant, name = parse_name(policy.name, "tenants/*/policies/*")
    plan = _told(policy.recipe)
    triggers = _told(policy.triggers)
    recipe = plan.pop("name", "")
    if "train_control" in plan:
        triggers["train_control"] = plan.pop("train_control")
    caps = {"replay_share": plan.pop("replay_share")} if "replay_share" in plan else {}
    for field in ("rank", "layers"):
        if f"lora_{field}" in plan:
            plan[field] = plan.pop(f"lora_{field}")
    if policy.HasField("interests"):
        triggers["interests"] = decode_interests(policy.interests)
    return Policy(
        key=PolicyKey(tenant, name),
        base_model=policy.base_model,
        recipe=recipe,
        suites=tuple(policy.suites),
        caps=caps,
        plan=plan,
        thresholds=_told(policy.gate),
        rules=triggers,
    )


def _told(message: Message) -> dict[str, Any]:
    """The fields that are set."""
    return {field.name: value for field, value in message.ListFields()}


def decode_run_id(name: str) -> str:
    """Takes `runs/run-1-abc` and `run-1-abc`."""
    return parse_name(name, "runs/*" if "/" in name else "*")[0]


def encode_run(run: Run) -> pb.Run:
    encoded = pb.Run(
        name=f"runs/{run.run}",
        state=_state(run.state.name),
        trigger=pb.Trigger(
            kind=pb.TriggerKind.Value(f"TRIGGER_KIND_{run.trigger.kind.name}"),
            detail=run.trigger.detail,
        ),
        champion_version=run.champion_version,
        model_version=run.model_version,
        control_version=run.control_version,
        snapshot=encode_snapshot(run.snapshot) if run.snapshot else None,
        estimates=[encode_estimate(estimate) for estimate in run.estimates],
        gate=[_encode_check(check) for check in run.gate],
        verdict=run.verdict,
        error=run.error,
        mlflow_run_id=run.mlflow_run_id,
        steps=[_encode_step(step) for step in run.steps],
        progress=run.progress,
        progress_words=run.progress_words,
        gate_attempt=run.attempt,
        gate_confidence=run.confidence,
        tenant=run.tenant,
        policy=run.policy,
        training_counts=run.training_counts,
        group_margins=run.group_margins,
        preference=run.preference,
        interests=encode_interests(run.rules.interests),
        effects=effects(run.estimates, run.rules.interests, run.reach),
        only_groups=run.only_groups,
        spared_groups=run.spared_groups,
        gaps=gaps(run.estimates, run.rules.interests, run.reach),
        recipe=run.rules.recipe,
        recipe_version=run.rules.recipe_version,
        objective=run.rules.plan.objective,
        strength=run.strength,
        tried=[_encode_tried(one) for one in run.tried],
        instruction=run.instruction,
        history=[
            pb.PastPolicy(
                version=one.version,
                adapter_path=one.adapter_path,
                adapter_digest=one.adapter_digest,
            )
            for one in run.history
        ],
        wish=run.rules.caps.wish,
        followed_by=[f"runs/{one}" for one in run.followed_by],
        may_be_followed=may_be_followed(run),
    )
    encoded.create_time.FromDatetime(run.create_time)
    encoded.update_time.FromDatetime(run.update_time)
    return encoded


def encode_report(report: Report, html: str) -> pb.GetReportResponse:
    return pb.GetReportResponse(
        html=html, json=json.dumps(document(report), indent=1), is_final=report.is_final
    )


def encode_snapshot(snapshot: Snapshot) -> pb.Snapshot:
    return pb.Snapshot(
        digest=snapshot.digest,
        uri=snapshot.uri,
        train_pairs=snapshot.train_pairs,
        held_out_pairs=snapshot.held_out_pairs,
        train_users=snapshot.train_users,
        held_out_users=snapshot.held_out_users,
        pairs_by_source=snapshot.pairs_by_source,
        largest_user_share=snapshot.largest_user_share,
        left_out=snapshot.left_out,
        pairs_by_group=snapshot.pairs_by_group,
        users_by_group=snapshot.users_by_group,
        users_by_source=snapshot.users_by_source,
        users_by_wish=snapshot.users_by_wish,
        replayed_pairs=snapshot.replayed_pairs,
        smallest_user_share=snapshot.smallest_user_share,
        praised_answers=snapshot.praised_answers,
        praising_users=snapshot.praising_users,
    )


def encode_recipe(recipe: Recipe) -> pb.Recipe:
    purpose = PURPOSES[recipe.objective]
    return pb.Recipe(
        name=recipe.name,
        version=recipe.version,
        what=recipe.what,
        objective=recipe.objective,
        when=purpose.when,
        data=purpose.data,
        sources=recipe.sources,
        least_confidence=recipe.least_confidence,
        replay_share=recipe.replay_share,
        training=_training(recipe),
        gate={name: _set_to(told) for name, told in recipe.thresholds.items()},
    )


def _training(recipe: Recipe) -> dict[str, str]:
    told = {name: _set_to(one) for name, one in recipe.plan.items() if name != "objective"}
    stages = [str(stage["objective"]) for stage in recipe.before]
    return told | ({"before": ", ".join(stages)} if stages else {})


def _set_to(told: float | tuple[float, ...]) -> str:
    return ", ".join(f"{one:g}" for one in (told if isinstance(told, tuple) else (told,)))


def encode_contest(contest: Contest) -> evaluation_pb2.EvaluateRequest:
    return evaluation_pb2.EvaluateRequest(
        request_id=contest.request_id,
        model_version=contest.candidate.version,
        served_name=contest.candidate.served_name,
        champion_version=contest.champion.version,
        champion_served_name=contest.champion.served_name,
        adapter_path=contest.candidate.adapter_path,
        champion_adapter_path=contest.champion.adapter_path,
        held_out_pairs=[encode_pair(pair) for pair in contest.held_out],
        confidence=contest.confidence,
        suites=contest.suites,
        champion_composition=encode_composition(contest.champion.composition)
        if contest.champion.composition
        else None,
        controls=[
            evaluation_pb2.Control(
                model_version=control.version,
                served_name=control.served_name,
                adapter_path=control.adapter_path,
                instruction=control.instruction,
                probed=control.is_probed,
            )
            for control in contest.controls
        ],
    )


def decode_example(example: evaluation_pb2.Example) -> Example:
    answers = {answer.model_version: answer.text for answer in example.answers}
    return Example(example.suite, example.prompt, answers)


def encode_completed(run: Run) -> Event:
    message = events_pb2.RetrainCompleted(
        run=f"runs/{run.run}",
        verdict=run.verdict,
        model_version=run.model_version,
        trigger=f"{run.trigger.kind.value}: {run.trigger.detail}",
        snapshot_digest=run.snapshot.digest if run.snapshot else "",
        tenant=run.tenant,
        policy=run.policy,
    )
    message.create_time.FromDatetime(run.update_time)
    return Event(
        topic=RETRAIN_COMPLETED,
        id=stable_id("retrained", run.run),
        key=f"runs/{run.run}",
        value=message.SerializeToString(),
        source="retrain",
        time=run.update_time,
        headers={**trace_headers()},
    )


def _encode_check(check: GateCheck) -> pb.GateCheck:
    return pb.GateCheck(
        estimate=encode_estimate(check.estimate),
        rule=check.rule,
        threshold=check.threshold,
        verdict=check.verdict,
        words=check.words,
    )


def _encode_tried(one: Tried) -> pb.TriedStrength:
    return pb.TriedStrength(
        strength=one.strength,
        version=one.version,
        gate_attempt=one.attempt,
        verdict=one.verdict,
        win_rate=one.win_rate,
    )


def _encode_step(step: RunStep) -> pb.RunStep:
    encoded = pb.RunStep(state=_state(step.state.name), attempts=step.attempts)
    encoded.start_time.FromDatetime(step.start_time)
    if step.end_time:
        encoded.end_time.FromDatetime(step.end_time)
    return encoded


def _state(name: str) -> pb.RunState.ValueType:
    return pb.RunState.Value(f"RUN_STATE_{name}")
