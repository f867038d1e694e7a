"""A canary whose answers fail, or come late, goes back though its users do not complain."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.registry.domain import answers
from services.registry.domain.answers import Answered, AnswerTests, PairTest, observed, worse
from services.registry.domain.policies import Policy, RolloutOverrides
from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.versions import State
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import answers_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.language.errors import InvalidArgument
from shared.language.groups import Reach
from shared.language.interests import ConflictRule, Interests
from shared.language.policies import PolicyKey
from shared.language.topics import REWARD_SCORED
from shared.log.events import Event
from shared.state.stage import drain
from shared.statistics.betting import GRID
from tests.unit.registry.test_registry import HOME, Calling, House

CHAMPION, CANARY = "assistant-v0", "assistant-v1"
RULES = RolloutRules()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.database.close()


def seen(version: str, user: str, wait_s: float | None, key: PolicyKey = HOME) -> Answered:
    return Answered(key, CANARY, version, user, wait_s is None, wait_s)


def pairs_of(waits: list[tuple[float | None, float | None]]) -> AnswerTests:
    """Champion's and canary's users in turn; None: the answer failed."""
    tests = AnswerTests()
    for number, (champion, canary) in enumerate(waits):
        tests = observed(tests, seen(CHAMPION, f"a{number}", champion), RULES)
        tests = observed(tests, seen(CANARY, f"b{number}", canary), RULES)
    return tests


def log_wealth(gains: list[float], worst: float) -> float:
    """Of the average over the grid of shares, by hand."""
    wealth = [math.prod(1 + share / worst * gain for gain in gains) for share in GRID]
    return math.log(sum(wealth) / len(wealth))


def test_the_evidence_by_hand() -> None:
    tests = pairs_of([(1.0, 2.1), (2.0, 3.9), (3.0, 1.0), (None, 1.0), (1.0, None)])
    # 2.1 s is twice 1 s and more, 3.9 s is not twice 2 s; the third champion is the slow one. The
    # champion's fifth, of 1 s, then meets the canary's fourth: a failed answer has no latency.
    latency = tests.latency
    assert (latency.pairs, latency.canary_worse, latency.champion_worse) == (4, 1, 1)
    gains = [1 - 0.1, -0.1, -1 - 0.1, -0.1]
    assert latency.log_e_worse == pytest.approx(log_wealth(gains, 1.1), abs=1e-12)
    errors = tests.errors
    assert (errors.canary.total, errors.canary.users) == (1, 5)
    assert (errors.champion.total, errors.champion.users) == (1, 5)
    gains = [-0.02, -0.02, -0.02, -1.02, 1 - 0.02]
    assert errors.log_e_worse == pytest.approx(log_wealth(gains, 1.02), abs=1e-12)
    share = answers.worse_share("slow_share", latency, on_canary=True)
    assert (share.value, share.count, share.method) == (0.25, 4, "wilson")
    assert 0.04 < share.low < 0.25 < share.high < 0.71


def test_what_is_no_time_is_refused() -> None:
    for wait_s in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds must be at least 0"):
            observed(AnswerTests(), seen(CANARY, "a", wait_s), RULES)


def test_an_answer_that_was_not_streamed_says_only_that_it_came() -> None:
    tests = observed(AnswerTests(), Answered(HOME, CANARY, CANARY, "a", False, None), RULES)
    assert (tests.errors.canary.users, tests.errors.canary.total) == (1, 0)
    assert tests.latency == PairTest()


def test_answers_at_once_are_neither_slow_nor_fast() -> None:
    tests = pairs_of([(0.0, 0.0)] * 50)
    assert (tests.latency.canary_worse, tests.latency.champion_worse) == (0, 0)


def went_back(rng: random.Random, failing: float, times: float, users: int) -> int:
    """After how many pairs of users it goes back, looked at after each; 0 if it does not."""
    tests = AnswerTests()
    for number in range(users):
        for version, share, scale in ((CHAMPION, 0.01, 1.0), (CANARY, failing, times)):
            wait_s = None if rng.random() < share else scale * rng.lognormvariate(0.0, 0.5)
            tests = observed(tests, seen(version, f"{number}", wait_s), RULES)
        if worse(tests, RULES):
            return number + 1
    return 0


def test_an_equal_canary_seldom_goes_back_and_a_bad_one_soon_does() -> None:
    rng = random.Random(7)
    equal = [went_back(rng, 0.01, 1.0, 500) for _ in range(60)]
    assert sum(map(bool, equal)) <= 3
    failing = sorted(went_back(rng, 0.3, 1.0, 500) for _ in range(20))
    slow = sorted(went_back(rng, 0.01, 3.0, 500) for _ in range(20))
    # The median, and nobody was left out.
    assert failing[0] > 0 and failing[10] < 60
    assert slow[0] > 0 and slow[10] < 25


def out(house: House, **rules: float) -> None:
    house.policies.update(Policy(HOME, rollout=RolloutOverrides(**rules)), ["rollout"])  # type: ignore[arg-type]
    house.register("a")
    house.app.start_rollout("local", "r", CANARY, 0.0, "retrain", "passed")


def report(house: House, *reports: dict[str, Any]) -> int:
    base = {"tenant": "local", "policy": "assistant", "canary": CANARY}
    request = pb.ReportAnswersRequest(reports=[pb.AnswerReport(**{**base, **o}) for o in reports])
    return int(called(house, "ReportAnswers", request).counted)


def called(house: House, method: str, request: Any) -> Any:
    return asyncio.run(getattr(house.servicer, method)(request, Calling("local")))


def test_a_canary_whose_answers_fail_goes_back_and_says_why(house: House) -> None:
    out(house)
    for number in range(20):
        user = {"user_id": f"u{number}"}
        report(house, {**user, "version": CHAMPION, "wait_s": 1.0})
        report(house, {**user, "version": CANARY, "failed": True})
    version = house.app.get("local", CANARY)
    assert version.state == State.ROLLED_BACK
    reason = version.changes[-1].reason
    # The average of five bets is 50.7 after eight pairs and 89.6 after nine; 60 are needed.
    assert reason.startswith(
        "its answers fail measurably more often: the first answer failed for 9 of 9 users on the canary, 0 of 9"
        " on the champion; e-value 89.6"
    )
    assert house.app.rollout(HOME)[1].version == CHAMPION


def test_one_that_keeps_people_waiting_goes_back_unless_it_is_tolerated(house: House) -> None:
    out(house, slow_times=3.0)
    for number in range(40):
        report(
            house,
            {"user_id": f"u{number}", "version": CHAMPION, "wait_s": 1.0},
            {"user_id": f"u{number}", "version": CANARY, "wait_s": 2.5},
        )
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.answers.latency.canary_worse) == (CANARY, 0)
    for number in range(40, 60):
        report(
            house,
            {"user_id": f"u{number}", "version": CHAMPION, "wait_s": 1.0},
            {"user_id": f"u{number}", "version": CANARY, "wait_s": 4.0},
        )
    assert house.app.get("local", CANARY).state == State.ROLLED_BACK
    assert "its users wait measurably longer" in house.app.get("local", CANARY).changes[-1].reason


def score(house: House, user: str, version: str, reward: float, **changes: Any) -> None:
    said = {"tenant": "local", "user_id": user, "model_version": version, "reward": reward}
    scored = events_pb2.RewardScored(**{**said, "reward_model": "local/3", **changes})
    scored.create_time.FromDatetime(house.time + timedelta(seconds=1))
    value = scored.SerializeToString()
    event_id = f"{user}-{version}-{len(house.log.records(REWARD_SCORED))}"
    house.log.publish([Event(REWARD_SCORED, event_id, "in order", value, "reward", house.time)])


def lower_rewards(house: House, users: int) -> None:
    for number in range(users):
        score(house, f"u{number}", CHAMPION, 0.5)
        score(house, f"u{number}", CANARY, 0.4)
    drain(house.rewards)


def test_one_whose_answers_have_lower_rewards_goes_back(house: House) -> None:
    out(house)
    lower_rewards(house, 30)
    version = house.app.get("local", CANARY)
    assert version.state == State.ROLLED_BACK
    # The boldest bet makes 1 + 0.9 * 0.8 / 1.2 = 1.6 of each pair; the average of five is 58.7 after eleven.
    assert version.changes[-1].reason.startswith(
        "its answers have measurably lower rewards: of 12 pairs of users, the canary's has the lower reward in"
        " 12, the champion's in 0; e-value 90.3"
    )
    assert house.counts()["abstainedNO_ROLLOUT"] == 2 * (30 - 12)


def test_everyones_reward_ends_nothing_where_a_canary_is_not_to_please_everyone(
    house: House,
) -> None:
    worst_off = Interests(ConflictRule.MAXMIN, actor="me", reason="the few first")
    house.policies.update(Policy(HOME, interests=worst_off), ["interests"])
    out(house)
    lower_rewards(house, 30)
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.answers.reward.canary_worse) == (CANARY, 30)
    house.app.rollback(HOME, "q", "me", "enough")
    house.policies.update(Policy(HOME), ["interests"])
    house.register("b")
    only = Reach(("plan=free",))
    house.app.start_rollout("local", "s", "assistant-v2", 0.0, "retrain", "passed", (), only)
    for number in range(30):
        score(house, f"w{number}", CHAMPION, 0.5, groups=["plan=free"])
        score(house, f"w{number}", "assistant-v2", 0.4, groups=["plan=free"])
        score(house, f"x{number}", "assistant-v2", 0.4)  # gets what the champion gives
    drain(house.rewards)
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.answers.reward.canary_worse) == ("assistant-v2", 30)
    assert house.counts()["abstainedSPARED"] == 30


def test_rewards_by_different_models_are_not_compared(house: House) -> None:
    out(house)
    score(house, "a", CHAMPION, 0.5)
    score(house, "b", CANARY, -3.0, reward_model="local/4")
    score(house, "c", CHAMPION, -3.0, reward_model="local/4")
    score(house, "c", CHAMPION, 9.0, reward_model="local/4")
    drain(house.rewards)
    reward = house.app.rollout(HOME)[0].answers.reward
    assert (reward.pairs, reward.canary_worse, reward.champion_worse) == (1, 0, 0)
    assert house.counts() == {"taken": 4, "made": 3, "abstainedUSER_COUNTED": 1}


def test_a_reward_that_is_none_is_a_dead_letter(house: House) -> None:
    out(house)
    score(house, "a", CANARY, math.nan)
    score(house, "", CANARY, 1.0)
    drain(house.rewards)
    assert {reason for reason in house.counts() if reason.startswith("dropped")} == {
        "droppedINVALID_ARGUMENT",
        "droppedINCOMPLETE_REWARD",
    }


def test_each_user_counts_once_on_each_version(house: House) -> None:
    out(house)
    mine = {"user_id": "ada", "version": CANARY, "wait_s": 1.0}
    assert report(house, mine, mine, {**mine, "failed": True}, {**mine, "version": CHAMPION}) == 2
    assert report(house, mine) == 0
    others = ({"tenant": "acme"}, {"canary": "assistant-v9"}, {"version": "assistant-v9"})
    assert [report(house, {**mine, "user_id": "bob", **other}) for other in others] == [0, 0, 0]
    # What people say counts beside it.
    house.say("ada", CANARY, "POSITIVE")
    drain(house.stage)
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.test.canary.users, rollout.answers.errors.canary.users) == (1, 1)


def test_what_is_known_of_answers_is_said_while_a_canary_is_out(house: House) -> None:
    out(house)
    mine = {"user_id": "ada", "version": CANARY, "wait_s": 1.0}
    report(house, mine, {**mine, "version": CHAMPION})
    served = called(house, "GetRollout", registry_pb2.GetRolloutRequest()).rollout
    errors, latency, reward = served.answers
    assert (errors.measure, latency.measure) == ("errors", "latency")
    assert (reward.measure, reward.canary.count) == ("reward", 0)
    assert (errors.canary.count, latency.champion.count) == (1, 1)
    assert errors.log_threshold == pytest.approx(math.log(60))
    assert latency.words.endswith("; it goes back at 60")
    assert latency.words.startswith(
        "of 1 pairs of users, the one on the canary waited 2 times as long in 0"
    )
    house.app.rollback(HOME, "q", "me", "enough")
    served = called(house, "GetRollout", registry_pb2.GetRolloutRequest()).rollout
    assert not served.answers
    assert house.app.rollout(HOME)[0].answers.latency.pairs == 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"user_id": ""}, "reports[1].user_id"),
        ({"version": ""}, "reports[1].version"),
        ({"canary": ""}, "reports[1].canary"),
        ({"tenant": ""}, "reports[1].tenant"),
        ({"wait_s": -1.0}, "reports[1].wait_s"),
        ({"wait_s": math.nan}, "reports[1].wait_s"),
        ({"policy": "No"}, "reports[1].policy"),
    ],
)
def test_a_report_that_says_too_little_is_refused_by_name(
    house: House, said: dict[str, Any], field: str
) -> None:
    out(house)
    good = {"user_id": "ada", "version": CANARY, "wait_s": 1.0}
    with pytest.raises(InvalidArgument) as refused:
        report(house, good, {**good, **said})
    assert refused.value.field == field
    assert house.app.rollout(HOME)[0].answers.errors.canary.users == 0


def test_too_many_at_once_are_refused(house: House) -> None:
    out(house)
    with pytest.raises(InvalidArgument, match="1001 reports"):
        report(house, *[{"user_id": "u", "version": CANARY}] * 1001)


def in_the_shadow(house: House, users: int = 4) -> None:
    house.policies.update(
        Policy(HOME, rollout=RolloutOverrides(steps=f"shadow:{users}:1h, 25%:2:1h")), ["rollout"]
    )
    house.register("a")
    house.app.start_rollout("local", "r", CANARY, 0.0, "retrain", "passed")


def both(house: House, user: str, champion: float | None, canary: float | None) -> int:
    """A user's answers by both versions, with their rewards; None: it failed."""
    versions = ((CHAMPION, champion), (CANARY, canary))
    return report(
        house,
        *(
            {"user_id": user, "version": version, "failed": reward is None}
            | ({} if reward is None else {"reward": reward, "reward_model": "local/3"})
            for version, reward in versions
        ),
    )


def test_a_canary_answers_in_the_shadow_until_enough_users_were_answered_by_both(
    house: House,
) -> None:
    in_the_shadow(house)
    served = called(house, "GetRollout", registry_pb2.GetRolloutRequest()).rollout
    assert (served.canary_share, served.step.shadow, served.step.users) == (0.0, True, 4)
    assert "is a canary in the shadow, step 1 of 3, waiting for evidence of 4 users" in served.words
    for number in range(3):
        assert both(house, f"u{number}", 0.1, 0.3) == 2
    # What Kafka brings of the champion's answers has no partner.
    score(house, "x", CHAMPION, 9.0)
    drain(house.rewards)
    assert house.counts()["abstainedSHADOW"] == 1
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary_share, rollout.answers.reward.champion_worse) == (0.0, 3)
    assert "of 4 users answered in the shadow (3 so far)" in rollout.words
    assert both(house, "u2", 0.1, 0.3) == 0
    assert both(house, "u3", 0.5, 0.3) == 2
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.step, rollout.canary_share) == (1, 0.25)
    change = house.app.get("local", CANARY).changes[-1]
    assert change.reason.startswith(
        "not measurably worse than the champion, it goes on from the shadow to 25% of the users"
    )
    served = called(house, "GetRollout", registry_pb2.GetRolloutRequest()).rollout
    assert not served.step.shadow
    # Whose answers were compared in the shadow counts no second time, with what Kafka brings.
    score(house, "u3", CANARY, 9.0)
    drain(house.rewards)
    assert house.counts()["abstainedUSER_COUNTED"] == 1
    assert house.app.rollout(HOME)[0].answers.reward.pairs == 4


@pytest.mark.parametrize(
    ("canary", "words"), [(None, "its answers fail"), (0.1, "its answers have measurably lower")]
)
def test_a_canary_that_is_worse_in_the_shadow_goes_back_before_anybody_meets_it(
    house: House, canary: float | None, words: str
) -> None:
    in_the_shadow(house, users=100)
    for number in range(30):
        both(house, f"u{number}", 0.5, canary)
    version = house.app.get("local", CANARY)
    assert version.state == State.ROLLED_BACK
    assert version.changes[-1].reason.startswith(words)


def test_a_shadow_that_nobody_asks_is_out_of_time(house: House) -> None:
    in_the_shadow(house)
    house.time += timedelta(hours=1, seconds=1)
    house.judge.tick()
    assert "of 4 users answered in the shadow (0 so far)" in (
        house.app.get("local", CANARY).changes[-1].reason
    )
