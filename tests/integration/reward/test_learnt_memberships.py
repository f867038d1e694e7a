"""Who is in which group, learnt from judged answers and from pairs, by the whole service in memory."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.reward.domain import Answer
from services.reward.people.domain import Division
from services.reward.people.jobs import divide
from shared.contracts.messages import encode_message
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.groups import UNKNOWN, Basis
from shared.language.messages import text_message
from shared.language.splits import is_held_out
from shared.language.topics import FEEDBACK_MINED
from tests.unit.reward.judged_people import (
    BRIEF,
    LISTS,
    THOROUGH,
    Said,
    of_patience,
    people,
    talk,
    text_of,
)
from tests.unit.reward.running import NOW, RewardService

# Half a minute of a core that is busy with nothing else.
pytestmark = pytest.mark.timeout(400)
LONG = text_of(random.Random(1), "green tea", 100, is_list=False)


def told(service: RewardService, said: Said) -> None:
    with service.database.begin() as transaction:
        intake = service.intake(transaction)
        for pair in said.pairs:
            intake.add_pair("local", pair)
        for judgement in said.judged:
            intake.add_judgement("local", judgement)


def trained(service: RewardService) -> None:
    with service.database.begin() as transaction:
        progress = service.intake(transaction).count_data("local", is_pair=True)
        service.intake(transaction).schedule_training("local", progress)
    while service.training.run_once():
        continue
    service.learn_memberships()


def groups(service: RewardService, said: Said) -> dict[str, Counter[str]]:
    """How many users with each wish are in each group, of those who judged three answers or more."""
    judged = Counter(one.user_id for one in said.judged)
    found: dict[str, Counter[str]] = {}
    for user, wish in said.wish_of.items():
        if judged[user] >= 3:
            membership = service.memberships.get("local", user)
            assert membership is not None
            found.setdefault(wish, Counter())[membership.group] += 1
    return found


def mined(
    service: RewardService, number: int, user: str, kind: events.FollowUpKind.ValueType
) -> None:
    answer = encode_message(text_message("assistant", LONG))
    said = events.FeedbackMined(
        feedback_id=f"f{number}",
        tenant="local",
        user_id=user,
        source=events.FEEDBACK_SOURCE_FOLLOW_UP,
        kind=kind,
        context=[encode_message(text_message("user", "What of tea?"))],
        answer=answer,
    )
    said.create_time.FromDatetime(NOW)
    service.publish(FEEDBACK_MINED, f"f{number}", said.SerializeToString())


@pytest.fixture(scope="module")
def opposed() -> tuple[RewardService, Said]:
    service, said = (
        RewardService(min_data=10_000),
        talk(people({BRIEF: 0.8, THOROUGH: 0.2}, 200, 1), 1),
    )
    told(service, said)
    trained(service)
    return service, said


def test_those_who_are_content_with_what_others_complain_of_are_a_group(
    opposed: tuple[RewardService, Said],
) -> None:
    service, said = opposed
    names = [group.name for group in service.memberships.division("local").tastes]
    assert len(names) == 2
    assert "shorter" in names[0]
    assert "longer" in names[1]
    found = groups(service, said)
    assert found[BRIEF][names[0]] / found[BRIEF].total() > 0.95
    assert found[THOROUGH][names[1]] / found[THOROUGH].total() > 0.85
    # Held-out users are put into their group, too.
    held_out = [user for user in said.wish_of if is_held_out("local", user)]
    right = [
        service.memberships.groups_of("local", [user]).get(user)
        == ((names[0],) if said.wish_of[user] == BRIEF else (names[1],))
        for user in held_out
    ]
    assert sum(right) / len(right) > 0.85
    # The content have a reward of their own, though they have hardly a pair.
    scores, _ = service.score(
        "local", [(Answer("q", "Keep it simple."), ""), (Answer("q", LONG), "")]
    )
    short, long = scores
    assert short.groups[names[0]] > long.groups[names[0]]
    assert short.groups[names[1]] < long.groups[names[1]]


def test_a_users_new_judgements_move_them(opposed: tuple[RewardService, Said]) -> None:
    service, _ = opposed
    shorter, longer = service.memberships.division("local").names
    service.turn(0, "user", "Hi?", user="newcomer")
    service.drain()
    first = service.memberships.get("local", "newcomer")
    assert first is not None
    assert (first.group, first.version) == (UNKNOWN, 1)
    for number in range(2):
        mined(service, number, "newcomer", events.FOLLOW_UP_KIND_POSITIVE)
    mined(service, 2, "newcomer", events.FOLLOW_UP_KIND_NONE)
    service.drain()
    service.learn_memberships()
    second = service.memberships.get("local", "newcomer")
    assert second is not None
    assert (second.group, second.version, second.judgements) == (UNKNOWN, 1, 2)
    for number in range(3, 6):
        mined(service, number, "newcomer", events.FOLLOW_UP_KIND_NEW_REQUEST)
    service.drain()
    service.learn_memberships()
    third = service.memberships.get("local", "newcomer")
    assert third is not None
    assert (third.group, third.version, third.basis) == (longer, 2, Basis.LEARNT)
    assert third.probabilities[longer] > 0.8 > third.probabilities[shorter]
    assert sum(third.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert third.evidence[0].startswith("tenants/local/feedback/f")
    assert service.counts("reward.ratings")["made", "judgement"] == 5
    told_of = [one for one in service.updated() if one.user_id == "newcomer"]
    assert [one.group for one in told_of] == [UNKNOWN, longer]


def test_names_are_kept_by_the_next_model_and_an_end_of_groups_is_told(
    opposed: tuple[RewardService, Said],
) -> None:
    service, said = opposed
    before = service.memberships.division("local")
    more = talk(people({BRIEF: 0.8, THOROUGH: 0.2}, 60, 2), 2)
    told(service, more)
    trained(service)
    after = service.memberships.division("local")
    assert after.reward_model != before.reward_model
    assert after.names == before.names
    moved = [one for one in service.updated() if one.user_id in said.wish_of and one.version > 1]
    assert len(moved) < 20, "who stays has no new version"
    with service.database.begin() as transaction:
        divide(
            service.people(transaction), transaction, "local", Division("rewardModels/reward-v9")
        )
    service.learn_memberships()
    newest = {one.user_id: one for one in service.updated()}
    assert {one.group for one in newest.values()} == {""}
    assert set(service.memberships.sizes("local")) == set()


@pytest.mark.parametrize("patience", [None, (0.05, 0.7)], ids=["alike", "patient-or-not"])
def test_one_taste_is_one_group_however_patient_people_are(
    patience: tuple[float, float] | None,
) -> None:
    persons = people({LISTS: 1.0}, 120, 3)
    said = talk(of_patience(persons, 3, *patience) if patience else persons, 3)
    service = RewardService(min_data=10_000)
    told(service, said)
    trained(service)
    assert service.memberships.division("local").tastes == ()
    assert service.memberships.sizes("local") == {}
    assert service.updated() == []
