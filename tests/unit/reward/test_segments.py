"""Rewards of declared segments: learnt from what their users said, of answers that nobody judged."""

from __future__ import annotations

import random

from services.reward.adapters.hashing import HashingEncoder
from services.reward.app.featurising import Featuriser
from services.reward.domain import Answer
from services.reward.learning.lines import Preference
from services.reward.learning.people import GroupRewards
from services.reward.learning.segments import LearnSegments, told_apart
from shared.language.groups import EVERYONE_ELSE
from tests.unit.reward.judged_people import (
    BRIEF,
    THOROUGH,
    TOPICS,
    Said,
    people,
    talk,
    text_of,
)
from tests.unit.reward.running import RewardService

PHONE, DESKTOP = "reader=phone", "reader=desktop"
READER = {BRIEF: PHONE, THOROUGH: DESKTOP}


def declared(said: Said) -> dict[str, tuple[str, ...]]:
    """Each user's groups: a learnt one that nobody asks of here, and their reader."""
    return {user: ("unknown", READER[wish]) for user, wish in said.wish_of.items()}


def answers_of(words: int) -> list[Answer]:
    rng = random.Random(words)
    return [Answer(f"{topic}?", text_of(rng, topic, words, is_list=False)) for topic in TOPICS]


def test_a_minority_that_is_content_with_what_it_has_has_a_reward_of_its_own() -> None:
    # The few are content with nearly all that they get: their reward learns from praise alone.
    said = talk(people({BRIEF: 0.8, THOROUGH: 0.2}, 60), asked=(1, 3))
    embedding = Featuriser(HashingEncoder(32))
    model = LearnSegments(embedding)(said.pairs, said.judged, declared(said))
    assert model is not None
    assert [(one.name, one.users) for one in model.groups] == [(PHONE, 48), (DESKTOP, 12)]
    short, long = (GroupRewards(embedding)(None, model, answers_of(n)) for n in (20, 60))
    prefer_short = {
        name: sum(a[name] > b[name] for a, b in zip(short, long, strict=True)) / len(TOPICS)
        for name in (PHONE, DESKTOP)
    }
    assert prefer_short[PHONE] > 0.9
    assert prefer_short[DESKTOP] < 0.1


def test_segments_of_too_few_or_of_everybody_have_no_reward_of_their_own() -> None:
    def said_by(user: str, rows: int) -> list[Preference]:
        one = Answer("?", "!")
        return [Preference(one, one, "?", user) for _ in range(rows)]

    users = [f"u{n}" for n in range(12)]
    said = [row for user in users for row in said_by(user, 2)]
    segments_of = {user: ["language=en"] for user in users}
    assert told_apart(said, segments_of) == ()
    for user in users[:5]:
        segments_of[user] += ["plan=pro"]
    for user in users[5:7]:
        segments_of[user] += ["plan=trial"]
    for user in users[7:11]:
        segments_of[user] += ["plan=free"]
    # Two users are too few; four who said eight things have said too little.
    assert told_apart(said, segments_of) == ("plan=pro",)
    assert told_apart(said + said_by(users[7], 2), segments_of) == ("plan=pro", "plan=free")
    # A few words by the way make no group.
    assert told_apart(said, {user: ["wants.form=list"] for user in users[:9]}) == ()
    # Whoever has none counts as somebody outside it.
    assert told_apart(said, {user: ["seen=yes"] for user in users[:9]}) == ("seen=yes",)
    assert told_apart(said, {user: ["seen=yes"] for user in users[:10]}) == ()


def test_those_who_are_in_no_segment_have_a_reward_together() -> None:
    """Most ask for short answers; the content few ask for nothing."""
    said = talk(people({BRIEF: 0.8, THOROUGH: 0.2}, 60), asked=(1, 3))
    wants = {
        user: ("wants.length=shorter",) for user, wish in said.wish_of.items() if wish == BRIEF
    }
    embedding = Featuriser(HashingEncoder(32))
    model = LearnSegments(embedding)(said.pairs, said.judged, wants)
    assert model is not None
    names = {one.name: one.users for one in model.groups}
    assert names == {"wants.length=shorter": 48, EVERYONE_ELSE: 12}
    short, long = (GroupRewards(embedding)(None, model, answers_of(n)) for n in (20, 60))
    prefer_short = [a[EVERYONE_ELSE] > b[EVERYONE_ELSE] for a, b in zip(short, long, strict=True)]
    assert sum(prefer_short) < 0.1 * len(TOPICS)


def test_a_service_learns_them_and_scores_by_them() -> None:
    service = RewardService()
    for number in range(40):
        metadata = {"segment.reader": "phone" if number % 4 else "desktop"}
        service.turn(number, "user", "Hi?", user=f"user{number}", metadata=metadata)
    service.train()
    (score,), name = service.score("local", [(Answer("Question?", "Short."), "")])
    assert name == "rewardModels/reward-v2"
    assert sorted(score.groups) == ["reader=desktop", "reader=phone"]
    stored = service.models.load("local", 2).segments
    assert stored is not None
    assert [one.name for one in stored.groups] == [PHONE, DESKTOP]
