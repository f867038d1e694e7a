"""What is mined carries the groups that its user was known to be in then, and is not restamped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1 import people_pb2 as people
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language.topics import (
    FEEDBACK_MINED,
    MEMBERSHIP_UPDATED,
    PREFERENCE_GIVEN,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
    dead_letters,
)
from shared.log.events import Event
from shared.privacy.erasure import Erasure
from tests.unit.feedback.house import LONG, NOW, SHORT, House
from tests.unit.feedback.test_api import TENANT, serving
from tests.unit.feedback.test_policies import SOURCES, stated

STAGE = "feedback.people"


def complain(house: House, user: str, number: int = 0) -> None:
    request = f"what is river {number} like?"
    house.chat_with(user, f"{user}{number}", request, LONG, "shorter please")
    house.settle()


def mined(house: House) -> dict[str, list[str]]:
    """By conversation."""
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    return {one.conversation_id: list(one.groups) for one in found}


def pairs(house: House, topic: str) -> dict[str, list[str]]:
    """By conversation."""
    kind = events.PreferenceMined if topic == PREFERENCE_MINED else events.PreferenceProposed
    found = house.published(topic, kind)
    return {one.pair.conversation_id: list(one.pair.groups) for one in found}


def test_labels_and_pairs_carry_the_learnt_group_first_then_segments() -> None:
    house = House()
    house.belongs("ada", "team=sales", "shorter", "language=de")
    house.belongs("ben", "unknown")
    for user in ("ada", "ben", "cleo"):
        complain(house, user)
    stamps = {"ada0": ["shorter", "language=de", "team=sales"], "ben0": ["unknown"], "cleo0": []}
    assert mined(house) == stamps
    assert pairs(house, PREFERENCE_PROPOSED) == stamps
    assert pairs(house, PREFERENCE_MINED) == stamps
    assert house.counts(STAGE) == {("taken", ""): 2, ("made", "known"): 2}
    assert house.adds_up()


def test_a_label_says_what_its_user_had_said_before() -> None:
    house = House()
    for number, (user, said) in enumerate(
        [
            ("ada", "shorter please"),
            ("ben", "perfect, thank you"),
            ("ada", "perfect, thank you"),
            ("ada", "shorter please"),
            ("ben", "shorter please"),
        ]
    ):
        house.chat_with(user, f"c{number}", f"what is river {number} like?", LONG, said)
        house.settle()
    kind = events.FollowUpKind
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    before = {one.conversation_id: kind.Name(one.kind_before) for one in found}
    assert before == {
        "c0": "FOLLOW_UP_KIND_UNSPECIFIED",
        "c1": "FOLLOW_UP_KIND_UNSPECIFIED",
        "c2": "FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK",
        "c3": "FOLLOW_UP_KIND_NEW_REQUEST",
        "c4": "FOLLOW_UP_KIND_NEW_REQUEST",
    }


def test_what_was_stamped_stays_whatever_is_learnt_later() -> None:
    house = House()
    house.scorer.trained = False
    house.belongs("ada", "shorter")
    complain(house, "ada")
    house.belongs("ada", "longer", version=2)
    complain(house, "ada", 1)
    house.scorer.train()
    house.wait(60)
    house.settle()
    stamps = {"ada0": ["shorter"], "ada1": ["longer"]}
    assert mined(house) == stamps
    # The pair was proposed before the change and is kept after it: it says what it said.
    assert pairs(house, PREFERENCE_MINED) == stamps
    listed = house.parts.feedback.page("local", (), None, 10).items
    assert [one.groups for one in listed] == [("shorter",), ("longer",)]


def test_the_newest_version_counts_in_whatever_order_they_come() -> None:
    house = House()
    for version, group in (
        (2, "shorter"),
        (1, "longer"),
        (2, "longer"),
        (3, "lists"),
        (3, "lists"),
    ):
        house.belongs("ada", group, version=version)
    complain(house, "ada")
    assert mined(house) == {"ada0": ["lists"]}
    assert house.counts(STAGE) == {
        ("taken", ""): 5,
        ("made", "known"): 2,
        ("dropped", "OUT_OF_DATE"): 3,
    }


def test_a_removed_user_is_in_no_group_until_one_is_learnt_anew() -> None:
    house = House()
    house.belongs("ada", "shorter", version=4)
    house.belongs("ada", version=3, removed=True)  # of before: it is not the last
    complain(house, "ada", 0)
    house.belongs("ada", version=4, removed=True)
    house.belongs("ada", version=4, removed=True)
    complain(house, "ada", 1)
    house.belongs("ada", "longer", version=1)
    complain(house, "ada", 2)
    assert mined(house) == {"ada0": ["shorter"], "ada1": [], "ada2": ["longer"]}
    assert house.counts(STAGE) == {
        ("taken", ""): 5,
        ("made", "known"): 2,
        ("made", "removed"): 1,
        ("dropped", "OUT_OF_DATE"): 2,
    }


def test_a_membership_without_version_or_user_goes_to_the_dead_letters() -> None:
    house = House()
    house.belongs("ada", "shorter", version=0)
    house.belongs("", "shorter")
    house.belongs("ben", "shorter", tenant="a/b")
    complain(house, "ada")
    letters = house.log.records(dead_letters(MEMBERSHIP_UPDATED))
    assert len(letters) == 3
    assert mined(house) == {"ada0": []}
    assert house.adds_up()


@pytest.mark.parametrize(("make", "source"), SOURCES)
def test_pairs_of_every_source_are_stamped(make: Callable[[House, str], None], source: str) -> None:
    house = House(ubr_share=1.0 if source == "USER_BASED_REWARD" else 0.0)
    house.belongs("ada", "shorter", "team=sales")
    house.settle()
    make(house, "support")
    house.settle()
    number = events.PairSource.Value(f"PAIR_SOURCE_{source}")
    kept = [one.pair for one in house.published(PREFERENCE_MINED, events.PreferenceMined)]
    groups = {tuple(pair.groups) for pair in kept if pair.source == number}
    assert groups == {("shorter", "team=sales")}


def test_a_stated_preference_cannot_claim_groups() -> None:
    house = House()
    stated(house, "")
    (record,) = house.log.records(PREFERENCE_GIVEN)
    claimed = events.PreferenceGiven.FromString(record.event.value)
    for user, groups in (("ada", ["longer"]), ("ben", ["longer", "team=sales"])):
        claimed.pair.user_id, claimed.pair.pair_id = user, f"claims-{user}"
        del claimed.pair.groups[:]
        claimed.pair.groups.extend(groups)
        value = claimed.SerializeToString()
        house.log.publish([Event(PREFERENCE_GIVEN, f"claims-{user}", "k", value, "test", NOW)])
    house.belongs("ben", "shorter")
    house.settle()
    stamped = {
        one.pair.pair_id: list(one.pair.groups)
        for one in house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    }
    assert stamped["claims-ben"] == ["shorter"]
    assert [groups for name, groups in stamped.items() if name != "claims-ben"] == [[]]


def test_explicit_feedback_and_hindsight_are_stamped_too() -> None:
    house = House()
    house.belongs("ada", "shorter")
    asked = ("what is a river?", SHORT, "lol what is a river?", SHORT, "wrong, what is a river?")
    house.chat_with("ada", "c1", *asked)
    house.settle()
    thumb = {"feedback_id": "f1", "tenant": "local", "completion_id": "c1-1", "thumbs_up": True}
    house.give(common.ExplicitFeedback(**thumb))  # type: ignore[arg-type]
    house.settle()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    said = {
        events.FeedbackSource.Name(one.source).removeprefix("FEEDBACK_SOURCE_") for one in found
    }
    assert said == {"FOLLOW_UP", "HINDSIGHT", "EXPLICIT"}
    assert {tuple(one.groups) for one in found} == {("shorter",)}


async def test_lists_are_filtered_by_group() -> None:
    house = House()
    house.belongs("ada", "shorter", "team=sales")
    house.belongs("ben", "longer", "team=sales_eu")
    house.belongs("cleo", "Shorter", "team=sales%")
    for user in ("ada", "ben", "cleo", "dan"):
        complain(house, user)
    everyone = ["ada", "ben", "cleo", "dan"]
    asked = {
        'group = "shorter"': ["ada"],
        'group != "shorter"': ["ben", "cleo", "dan"],
        'group = "team=sales"': ["ada"],
        'group = "team=sales%"': ["cleo"],
        'group = "team=sales_eu" AND group = "longer"': ["ben"],
        'group = "short"': [],
        "": everyone,
    }
    async with serving(house) as stub:
        for text, users in asked.items():
            listed = pb.ListFeedbackRequest(filter=text)
            found = await stub.ListFeedback(listed, metadata=TENANT)
            assert [one.user_id for one in found.feedback] == users, text
            of_pairs = pb.ListPairsRequest(filter=text)
            stored = await stub.ListPairs(of_pairs, metadata=TENANT)
            assert [one.pair.user_id for one in stored.pairs] == users, text
            assert stored.total_size == len(users)


def test_a_membership_is_exported_and_goes_with_its_user() -> None:
    house = House()
    house.belongs("ada", "shorter", "team=sales", version=3)
    house.belongs("ben", "longer")
    house.settle()
    ((kind, held),) = SqlHoldings(house.database)("local", "ada")
    assert kind == "membership"
    assert isinstance(held, people.Membership)
    assert (held.group, held.version, dict(held.segments)) == ("shorter", 3, {"team": "sales"})
    with house.database.begin() as transaction:
        ada = Erasure("e1", "local", "ada")
        assert FeedbackRemover(house.database).remove_rows(ada, transaction)["memberships"] == 1
    for user in ("ada", "ben"):
        complain(house, user)
    assert mined(house) == {"ada0": [], "ben0": ["longer"]}
