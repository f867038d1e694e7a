"""The steps of a canary: how they are written, and what the evidence makes of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.registry.domain.policies import Policy, RolloutOverrides
from services.registry.domain.rollouts import Rollout, RolloutRules
from services.registry.domain.steps import Evidence, OutOfTime, Step, parse
from services.registry.domain.versions import State
from services.registry.settings import RegistrySettings
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import steps_pb2
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.state.stage import drain
from tests.unit.registry.test_registry import HOME, Calling, House

GLAD, SAD = "POSITIVE", "REATTEMPT_WITH_FEEDBACK"
STEPS = "5%:4:1m, 25%:6:2m"


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.database.close()


def begin(house: House, share: float = 0.0, **rules: object) -> None:
    """By steps of 5% and 25%, and then half of the users until five were heard on each side."""
    overrides = RolloutOverrides(**{"steps": STEPS, **rules})  # type: ignore[arg-type]
    house.policies.update(Policy(HOME, rollout=overrides), ["rollout"])
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", share, "retrain", "passed")


def say(house: House, count: int, canary: str, champion: str = SAD) -> None:
    """So many more users on each arm."""
    first = rollout(house).test.canary.users
    for number in range(first, first + count):
        house.say(f"u{number}", "assistant-v0", champion)
        house.say(f"u{number}", "assistant-v1", canary)
    drain(house.stage)


def rollout(house: House) -> Rollout:
    return house.app.rollout(HOME)[0]


def at(house: House) -> tuple[int, float]:
    return rollout(house).step, rollout(house).canary_share


def state(house: House) -> State:
    return house.app.get("local", "assistant-v1").state


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("", ()),
        ("5%:20:1h", (Step(0.05, 20, 3600),)),
        (
            " 0.5%:5:90 , 0.05:20:1.5h,25 % : 50 : 2d",
            (Step(0.005, 5, 90), Step(0.05, 20, 5400), Step(0.25, 50, 172_800)),
        ),
        ("shadow:9:1h, 5%:1:1m", (Step(0.0, 9, 3600), Step(0.05, 1, 60))),
        ("1%:1:30s, 2%:1:2m", (Step(0.01, 1, 30), Step(0.02, 1, 120))),
    ],
)
def test_steps_as_they_are_written(line: str, steps: tuple[Step, ...]) -> None:
    assert parse(line) == steps


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5%:1:1m, shadow:9:1h", "goes from 5% to the shadow; shares must rise"),
        ("0%:9:1h", "has '0%:9:1h'; a share is between 0 and 100%"),
        ("shadow:0:1h", "users and time are more than 0"),
        ("shadow%:9:1h", "a step is its share"),
        ("5%", "has '5%'; a step is its share of the users, how many of them must be heard"),
        ("5%:20:1w", "has '5%:20:1w'; a step is"),
        ("-5%:20:1h", "a step is"),
        ("5%:20:1h,,", "has ''; a step is"),
        ("1.2.3:20:1h", "of which a number cannot be read"),
        ("0%:20:1h", "a share is between 0 and 100%, users and time are more than 0"),
        ("100%:20:1h", "a share is between 0 and 100%"),
        ("5%:0:1h", "users and time are more than 0"),
        ("5%:20:0s", "users and time are more than 0"),
        ("25%:20:1h, 5%:20:1h", "goes from 25% to 5%; shares must rise"),
        ("5%:20:1h, 0.05:20:1h", "goes from 5% to 5%"),
        (", ".join(f"{n}%:1:1h" for n in range(1, 12)), "has 11 steps; 10 are allowed"),
    ],
)
def test_what_is_no_step_is_refused_in_words(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse(line)
    assert words in str(refused.value)


def test_a_step_that_is_not_below_the_canarys_share_is_passed_over() -> None:
    rules = RolloutRules(canary_share=0.25, min_users=7, max_s=60, steps=STEPS)
    assert rules.all_steps == (Step(0.05, 4, 60), Step(0.25, 7, 60))


def test_a_canary_goes_on_by_its_steps_and_is_promoted_after_the_last(house: House) -> None:
    begin(house)
    assert at(house) == (0, 0.05)
    assert rollout(house).words.startswith(
        "assistant-v1 is a canary at 5% of the users, step 1 of 3, waiting for evidence of 4 users on the"
        " canary (0 since this step began): "
    )
    revision = rollout(house).revision
    say(house, 3, GLAD)
    assert (at(house), rollout(house).revision) == ((0, 0.05), revision)
    say(house, 1, GLAD)
    assert (at(house), rollout(house).revision) == ((1, 0.25), revision + 1)
    say(house, 5, GLAD)
    assert at(house) == (1, 0.25)  # nine users in all would be enough for a single step
    say(house, 1, GLAD)
    assert at(house) == (2, 0.5)
    assert rollout(house).test.log_e_better > rollout(house).rules.log_threshold  # type: ignore[union-attr]
    say(house, 4, GLAD)
    assert state(house) == State.CANARY
    say(house, 1, GLAD)
    assert state(house) == State.CHAMPION
    reasons = [one.reason for one in house.app.get("local", "assistant-v1").changes][-3:]
    assert reasons[0].startswith(
        "not measurably worse than the champion, it goes on from 5% to 25% of the users: dissatisfied 0 of 4"
    )
    assert reasons[1].startswith(
        "not measurably worse than the champion, it goes on from 25% to 50% of the users: dissatisfied 0 of 10"
    )
    assert reasons[2].startswith("measurably better than the champion: dissatisfied 0 of 15 users")


def test_a_canary_that_is_worse_goes_back_at_once_whatever_its_step(house: House) -> None:
    begin(house, steps="5%:500:1h")
    say(house, 30, SAD, GLAD)
    assert state(house) == State.ROLLED_BACK
    assert "measurably worse than the champion" in rollout(house).words
    assert rollout(house).test.canary.users < 30


@pytest.mark.parametrize("evidence", [Evidence.NOT_WORSE, Evidence.BETTER])
def test_a_policy_may_ask_for_evidence_before_each_step(house: House, evidence: Evidence) -> None:
    """With everybody content on both sides, it is shown that it is not worse, and never that it is better."""
    begin(house, advance_when=evidence, worse_by=0.15)
    say(house, 18, GLAD, GLAD)
    assert at(house) == (0, 0.05)
    say(house, 10, GLAD, GLAD)
    assert at(house)[0] == (1 if evidence is Evidence.NOT_WORSE else 0)


def test_a_policy_may_promote_what_is_not_worse(house: House) -> None:
    """By hand: the average of (1 + share * 0.15 / 0.85) ** 28 over the grid of shares is the first above 20."""
    begin(house, steps="", promote_when="not_worse", worse_by=0.15)
    say(house, 27, GLAD, GLAD)
    assert state(house) == State.CANARY
    assert "waiting for evidence that it is not worse than the champion by more than 0.15" in (
        rollout(house).words
    )
    assert "e-value 19.4 for not worse by more than 0.15, " in rollout(house).words
    say(house, 1, GLAD, GLAD)
    assert state(house) == State.CHAMPION
    assert "measurably not worse than the champion by more than 0.15: dissatisfied 0 of" in (
        rollout(house).words
    )


def test_each_step_has_its_own_time(house: House) -> None:
    begin(house)
    house.time += timedelta(seconds=59)
    say(house, 4, GLAD)
    house.time += timedelta(seconds=119)
    house.judge.tick()
    assert at(house) == (1, 0.25)
    house.time += timedelta(seconds=2)
    house.judge.tick()
    assert state(house) == State.ROLLED_BACK
    assert "no evidence within 120 s of 6 users on the canary (0 since this step began): " in (
        rollout(house).words
    )


def test_a_canary_may_be_held_until_the_evidence_is_there(house: House) -> None:
    begin(house, out_of_time="hold")
    house.time += timedelta(seconds=61)
    house.judge.tick()
    held = rollout(house)
    assert (held.is_held, at(house), state(house)) == (True, (0, 0.05), State.CANARY)
    assert (
        "step 1 of 3, held, as it was not there in time, waiting for evidence of 4 users"
        in held.words
    )
    house.judge.tick()
    assert rollout(house) == held
    say(house, 4, GLAD)
    assert (rollout(house).is_held, at(house)) == (False, (1, 0.25))


async def test_a_person_lets_it_go_on_without_the_evidence(house: House) -> None:
    begin(house, out_of_time=OutOfTime.HOLD)
    house.time += timedelta(minutes=2)
    house.judge.tick()
    assert rollout(house).is_held
    revision = rollout(house).revision
    request = steps_pb2.AdvanceRolloutRequest(actor="ann", reason="looked at", revision=revision)
    told = await house.servicer.AdvanceRollout(request, Calling("local"))
    assert (at(house), rollout(house).is_held) == ((1, 0.25), False)
    assert told.revision == rollout(house).revision > revision
    assert "at 25% of the users, step 2 of 3" in told.words
    change = house.app.get("local", "assistant-v1").changes[-1]
    assert (change.state, change.actor, change.reason) == (State.CANARY, "ann", "looked at")
    with pytest.raises(FailedPrecondition) as stale:
        await house.servicer.AdvanceRollout(request, Calling("local"))
    assert stale.value.reason == "ROLLOUT_CHANGED"


def test_who_chooses_the_share_has_one_step(house: House) -> None:
    begin(house, share=0.3)
    assert (rollout(house).canary_share, len(rollout(house).rules.all_steps)) == (0.3, 1)  # type: ignore[union-attr]


async def test_where_it_is_among_its_steps_is_told(house: House) -> None:
    begin(house)
    say(house, 5, GLAD)
    answer = await house.servicer.GetRollout(pb.GetRolloutRequest(), Calling("local"))
    step = answer.rollout.step
    assert (step.number, step.count, step.users, step.heard, step.max_s) == (2, 3, 6, 1, 120.0)
    house.app.rollback(HOME, "", "ada", "no")
    answer = await house.servicer.GetRollout(pb.GetRolloutRequest(), Calling("local"))
    assert not answer.rollout.HasField("step")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", "5%:20", "rollout.steps has '5%:20'; a step is its share of the users"),
        ("advance_when", "best", "has 'best'; choose from unless_worse, not_worse, better"),
        ("promote_when", "unless_worse", "choose from not_worse, better"),
        ("out_of_time", "wait", "has 'wait'; choose from roll_back, hold"),
    ],
)
def test_what_a_policy_cannot_mean_is_refused_by_name(
    house: House, name: str, value: str, words: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        begin(house, 0.0, **{name: value})
    assert refused.value.field == f"rollout.{name}"
    assert words in refused.value.message


def test_the_deployments_rules_are_checked_at_the_start() -> None:
    settings = RegistrySettings(rollout_steps=STEPS, promote_when="not_worse", out_of_time="hold")
    assert settings.rules.all_steps[0] == Step(0.05, 4, 60)
    assert settings.rules.out_of_time is OutOfTime.HOLD
    with pytest.raises(ValueError, match="goes from 25% to 5%"):
        RegistrySettings(rollout_steps="25%:1:1h, 5%:1:1h")
    with pytest.raises(ValueError, match="choose from not_worse, better"):
        RegistrySettings(promote_when="unless_worse")
