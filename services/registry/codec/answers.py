"""What gateways saw of answers, and what a rollout made of it, <-> protobuf."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from services.registry.domain import answers
from services.registry.domain.answers import Answered
from services.registry.domain.decisions import goes_by_reward
from services.registry.domain.rollouts import Rollout, RolloutRules
from shared.contracts.estimates import encode_estimate
from shared.gen.trimtab.registry.v1 import answers_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.policies import PolicyKey, check_policy_id

MOST_REPORTS = 1000


def decode_reports(reports: Sequence[pb.AnswerReport]) -> list[Answered]:
    """InvalidArgument, naming the field, for too many of them and for one without what it is about."""
    if len(reports) > MOST_REPORTS:
        raise InvalidArgument(
            f"{len(reports)} reports; at most {MOST_REPORTS} are taken at once",
            reason="TOO_MANY",
            field="reports",
        )
    return [_decoded(one, f"reports[{place}]") for place, one in enumerate(reports)]


def _decoded(report: pb.AnswerReport, place: str) -> Answered:
    for name in ("tenant", "canary", "version", "user_id"):
        if not getattr(report, name):
            raise InvalidArgument(f"{place}.{name} is required", field=f"{place}.{name}")
    wait_s = report.wait_s if report.HasField("wait_s") and not report.failed else None
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0):
        field = f"{place}.wait_s"
        raise InvalidArgument(f"{field} must be at least 0, but is {wait_s:g}", field=field)
    if not math.isfinite(report.reward):
        field = f"{place}.reward"
        raise InvalidArgument(f"{field} is not a finite number", field=field)
    return Answered(
        key=PolicyKey(report.tenant, check_policy_id(report.policy, f"{place}.policy")),
        canary=report.canary,
        version=report.version,
        user=f"{report.tenant}/{report.user_id}",
        failed=report.failed,
        wait_s=wait_s,
        reward=report.reward if report.HasField("reward") else None,
        reward_model=report.reward_model,
    )


def encode_answers(rollout: Rollout, rules: RolloutRules) -> Iterator[pb.AnswerEvidence]:
    tests, threshold = rollout.answers, answers.log_threshold(rules.alpha)
    back = f"; it goes back at {math.exp(threshold):.0f}"
    by_reward = back if goes_by_reward(rollout) else "; everyone's reward ends nothing here"
    yield pb.AnswerEvidence(
        measure=answers.ERRORS,
        canary=encode_estimate(answers.failed_share(tests, on_canary=True)),
        champion=encode_estimate(answers.failed_share(tests, on_canary=False)),
        log_e_worse=tests.errors.log_e_worse,
        log_threshold=threshold,
        words=answers.said_of_errors(tests) + back,
    )
    latency = answers.said_of_latency(tests, rules) + back
    reward = answers.said_of_reward(tests) + by_reward
    for measure, name, test, words in (
        (answers.LATENCY, "slow_share", tests.latency, latency),
        (answers.REWARD, "lower_reward_share", tests.reward, reward),
    ):
        yield pb.AnswerEvidence(
            measure=measure,
            canary=encode_estimate(answers.worse_share(name, test, on_canary=True)),
            champion=encode_estimate(answers.worse_share(name, test, on_canary=False)),
            log_e_worse=test.log_e_worse,
            log_threshold=threshold,
            words=words,
        )
