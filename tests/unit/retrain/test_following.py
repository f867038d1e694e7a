"""What a run's version does not give those who asked for it has a run of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from services.retrain.codec import encode_run, encode_snapshot
from services.retrain.domain.asked import asked_of, users_by_wish
from services.retrain.domain.gate import check
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.runs import Run, TriggerKind
from services.retrain.domain.selection import Caps, select, verdicts
from services.retrain.jobs import ByWish
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import InvalidArgument, Unavailable
from shared.language.estimates import Estimate
from shared.language.groups import Composition, Layer, Reach
from shared.language.interests import ConflictRule, Interests
from shared.language.pairs import Pair
from shared.language.topics import PREFERENCE_MINED
from shared.state.stage import drain
from tests.unit.retrain.house import House, caller
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, TRAINED, pair
from tests.unit.retrain.test_gate import figures

SHORTER, LIST = "wants.length=shorter", "wants.form=list"


def asking(number: int, user: str, words: str, **changes: object) -> Pair:
    return pair(number, user, feedback_text=words, **changes)


def two_wishes(brief: int = 10, lists: int = 8) -> list[Pair]:
    """Each of a user of their own, and one of each wish that is held out."""
    return [
        *(asking(n, TRAINED[n], "shorter please") for n in range(brief)),
        *(asking(100 + n, TRAINED[100 + n], "use a list") for n in range(lists)),
        asking(200, HELD_OUT[0], "too long"),
        asking(201, HELD_OUT[1], "as bullet points"),
    ]


def ended(pairs: list[Pair], **rules: Any) -> House:
    """A house whose first run has been through the gate, its version a canary."""
    house = House(train_control=False, **rules)
    mine(house, pairs)
    house.start("r1")
    house.walk()
    house.registry.busy.add(LOCAL)
    return house


def mine(house: House, pairs: list[Pair]) -> None:
    for one in pairs:
        mined = events_pb2.PreferenceMined(pair=encode_pair(one))
        house.publish(PREFERENCE_MINED, one.pair_id, mined.SerializeToString())
    drain(house.pairs)


def looks(house: House) -> list[Run]:
    """All runs after a new process has looked once, oldest first."""
    ByWish(house.app, house.registry.settled).once()
    return house.runs(9)[::-1]


def serves(house: House, composition: Composition | None) -> None:
    """The rollout is over, and the first run's version the champion, answering whom `composition` says."""
    house.registry.busy.clear()
    version = house.runs()[0].model_version
    for request, (key, found) in house.registry.versions.items():
        if found.version == version:
            house.registry.versions[request] = (key, replace(found, composition=composition))
    house.registry.serving[LOCAL] = version


def test_what_a_user_said_of_the_answer_comes_before_what_is_known_of_them() -> None:
    known = (SHORTER, "channel=web", "prefers short")
    assert asked_of(asking(1, "u1", "use a list", groups=known)) == {LIST}
    assert asked_of(asking(1, "u1", "shorter, and as a list", groups=())) == {SHORTER, LIST}
    assert asked_of(asking(1, "u1", "that is wrong", groups=known)) == {SHORTER}
    assert asked_of(asking(1, "u1", "that is wrong", groups=("channel=web",))) == set()
    twice = [asking(1, "u1", "shorter"), asking(2, "u1", "too long"), asking(3, "u2", "a list")]
    assert users_by_wish(twice) == {LIST: 1, SHORTER: 1}


def test_a_run_for_a_wish_takes_the_pairs_of_those_alone_who_ask_for_it() -> None:
    pairs = [
        *two_wishes(2, 2),
        asking(5, TRAINED[5], "shorter, and as a list"),
        asking(6, TRAINED[6], "that is wrong"),
    ]
    found = {one.pair_id: verdict for one, verdict in verdicts(pairs, Caps(wish=LIST))}
    assert found == {
        "p000": "OTHER_WISH",
        "p001": "OTHER_WISH",
        "p005": "train",
        "p006": "OTHER_WISH",
        "p100": "train",
        "p101": "train",
        "p200": "OTHER_WISH",
        "p201": "held_out",
    }
    assert len(select(pairs, {}, Caps()).train) == 6


def test_those_whom_the_version_left_without_have_a_run_of_their_own() -> None:
    house = ended(two_wishes())
    (first,) = looks(house)  # its canary is out
    assert encode_run(first).may_be_followed
    assert first.snapshot and first.snapshot.users_by_wish == {LIST: 8, SHORTER: 10}
    assert encode_snapshot(first.snapshot).users_by_wish == {LIST: 8, SHORTER: 10}
    own = f"local.{first.model_version}"
    serves(house, Composition("base", (Layer(own, Reach((SHORTER,))),)))
    first, second = looks(house)
    assert (second.trigger.kind, second.rules.caps.wish) == (TriggerKind.WISH, LIST)
    assert second.trigger.detail == f"{LIST}, which {first.run} did not give them"
    assert (first.is_followed, first.followed_by) == (True, (second.run,))
    told = encode_run(first)
    assert (told.may_be_followed, told.followed_by) == (False, [f"runs/{second.run}"])
    assert encode_run(second).wish == LIST
    assert (first.rules.plan.layers, second.rules.plan.layers) == (10, 20)
    strengths = [one.rules.thresholds.strengths for one in (first, second)]
    assert strengths == [(1.0,), (0.85, 0.7)]
    assert len(looks(house)) == 2  # once and for all
    second = house.walk()
    assert second.has_ended
    assert second.snapshot and second.snapshot.train_pairs == 8
    assert second.snapshot.left_out == {"OTHER_WISH": 11}
    assert second.snapshot.users_by_wish == {LIST: 8}
    assert second.instruction == "Answer as a list of points, one a line."
    assert len(looks(house)) == 2  # what was trained for one wish is followed by nothing


def test_nobody_is_left_without_by_a_version_that_answers_all_who_asked() -> None:
    house = ended(two_wishes())
    serves(house, None)
    (only,) = looks(house)
    assert (only.is_followed, only.followed_by) == (True, ())


def test_of_a_version_that_went_back_each_wish_is_tried_alone_the_most_asked_for_first() -> None:
    house = ended(two_wishes(lists=12))
    house.registry.busy.clear()
    _, second, third = looks(house)
    assert [one.rules.caps.wish for one in (second, third)] == [LIST, SHORTER]
    assert [one.rules.plan.layers for one in (second, third)] == [20, 10]
    assert third.rules.thresholds.strengths == (1.0,)


@pytest.mark.parametrize(
    ("pairs", "rules"),
    [
        (two_wishes(lists=0), {}),
        (two_wishes(brief=7, lists=7), {}),
        (two_wishes(), {"wish_users": 0}),
        (two_wishes(), {"wish_users": 11}),
        (two_wishes(), {"least_users": 11}),
        (two_wishes(), {"interests": Interests(ConflictRule.MEAN, actor="ann", reason="one UI")}),
    ],
)
def test_where_too_few_ask_or_all_get_the_same_nothing_follows(
    pairs: list[Pair], rules: dict[str, Any]
) -> None:
    house = ended(pairs, **rules)
    house.registry.busy.clear()
    (only,) = looks(house)
    assert not only.is_followed


def test_a_wish_that_too_few_have_waits_and_those_who_come_until_the_end_count() -> None:
    house = ended(two_wishes(lists=5))
    own = f"local.{house.runs()[0].model_version}"
    serves(house, Composition("base", (Layer(own, Reach((SHORTER,))),)))
    (only,) = looks(house)
    assert (only.is_followed, only.followed_by) == (True, ())
    house = ended(two_wishes(lists=5))
    mine(house, [asking(300 + n, TRAINED[130 + n], "use a list") for n in range(3)])
    serves(house, Composition("base", (Layer(own, Reach((SHORTER,))),)))
    _, second = looks(house)
    assert second.rules.caps.wish == LIST
    # Of those who asked for short answers there are enough, but few asked for anything else.
    house = ended(two_wishes(lists=5))
    house.registry.busy.clear()
    assert len(looks(house)) == 1
    # Eight users are, and their pairs are fewer than a run needs.
    house = ended(two_wishes(), least_pairs=9)
    serves(house, Composition("base", (Layer(own, Reach((SHORTER,))),)))
    assert len(looks(house)) == 1


def test_a_cancelled_run_is_followed_by_nothing_and_a_newer_run_takes_its_place() -> None:
    house = ended(two_wishes())
    house.start("r2")
    house.cancel(house.runs()[0].run)
    house.registry.busy.clear()
    first, second = looks(house)
    assert (first.is_followed, second.is_followed) == (False, False)


def test_nothing_is_lost_while_the_registry_is_away() -> None:
    house = ended(two_wishes())

    def away(run: Run) -> tuple[Composition, str] | None:
        raise Unavailable("the registry is away")

    clock = ByWish(house.app, away)
    clock.once()
    assert len(house.runs(9)) == 1
    house.registry.busy.clear()
    assert len(looks(house)) == 3


def test_another_wishs_pairs_count_as_new_for_the_next_run() -> None:
    house = ended(two_wishes())
    house.registry.busy.clear()
    looks(house)
    house.walk_all()
    with house.store.read() as session:
        newest, seen = session.newest_pair(LOCAL), session.pairs_seen(LOCAL)
    assert newest == seen == 20
    assert [one.pairs_seen for one in house.runs(3)] == [0, 0, 20]


def test_a_person_may_ask_for_a_run_for_one_wish() -> None:
    house = ended(two_wishes())
    servicer = house.servicer()
    request = pb.StartRetrainRequest(request_id="mine", wish=LIST)
    asyncio.run(servicer.StartRetrain(request, caller("local")))
    assert house.runs()[0].rules.caps.wish == LIST
    asked = pb.PreviewSnapshotRequest(wish=SHORTER)
    shown = asyncio.run(servicer.PreviewSnapshot(asked, caller("local"))).snapshot
    assert (shown.train_pairs, dict(shown.users_by_wish)) == (10, {SHORTER: 10})
    with pytest.raises(
        InvalidArgument, match=r"'wants\.length=blue'; the wishes are wants"
    ) as raised:
        house.app.start(LOCAL, "r9", "ann", wish="wants.length=blue")
    assert (raised.value.reason, raised.value.field) == ("UNKNOWN_WISH", "wish")


def group(name: str, value: float, low: float, high: float) -> Estimate:
    return Estimate("win_rate", value, low, high, count=60, users=20, group=name)


def test_what_was_trained_for_one_wish_is_for_those_alone_who_ask_for_it() -> None:
    def reached(wish: str, *groups: Estimate, **changes: Estimate) -> tuple[str, Reach]:
        every = (*figures(**changes), *groups)
        return check(every, "assistant-v0", Thresholds(), 0.95, wish=wish)[1:]

    assert reached(LIST) == ("passed", Reach((LIST,)))
    gain, loss = group(LIST, 0.9, 0.8, 0.95), group(SHORTER, 0.2, 0.1, 0.3)
    assert reached(LIST, gain, loss) == ("passed", Reach((LIST,), (SHORTER,)))
    also = group(SHORTER, 0.9, 0.8, 0.95)
    worse = group("wants.tone=formal", 0.2, 0.1, 0.3)
    assert reached("", gain, also, worse)[1].groups == (LIST, SHORTER)
    assert reached(LIST, gain, also, worse)[1].groups == (LIST,)
    # What others would lose is no matter, as they do not get it; those who have the wish must gain.
    alone = Reach((LIST,), ("wants.tone=formal",))
    assert reached(LIST, group(LIST, 0.55, 0.45, 0.65), also, worse) == (
        "not_enough_evidence",
        alone,
    )
    assert reached(LIST, group(LIST, 0.4, 0.3, 0.48), also, worse) == ("failed", alone)
    assert reached(LIST, worse) == ("passed", alone)
    assert reached(LIST, worse, win_rate=Estimate("win_rate", 0.5, 0.4, 0.6, count=60)) == (
        "not_enough_evidence",
        alone,
    )
    # Found among four groups it would have to be surer.
    sure = group(LIST, 0.6, 0.51, 0.69)
    assert reached(LIST, sure, also, worse) == ("passed", alone)
    assert reached("", sure, also, worse)[1].groups == (SHORTER,)


def test_the_strengths_of_a_recipe_are_for_all_its_runs() -> None:
    recipe = Recipe("r", 1, "", plan={"objective": "dpo"}, thresholds={"strengths": (0.5,)})
    for rules, found in ((Rules(), (0.85, 0.7)), (recipe.applied(Rules()), (0.5,))):
        assert rules.only_for(LIST).thresholds.strengths == found


def test_the_registry_is_asked_until_the_rollout_is_over_and_never_again() -> None:
    house, asked = ended(two_wishes()), list[str]()

    def settled(run: Run) -> tuple[Composition, str] | None:
        asked.append(run.run)
        return house.registry.settled(run)

    clock = ByWish(house.app, settled)
    for _ in range(3):
        clock.once()
    assert len(asked) == 3
    serves(house, None)
    for _ in range(3):
        clock.once()
    assert len(asked) == 4
    house.start("r2")  # another one
    clock.once()
    house.walk_all()
    clock.once()
    assert len(asked) == 5
