"""Whom a version helps and whom it hurts, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest

from services.evaluation.adapters.memory import ScriptedScorer
from services.evaluation.codec import decode_request, encode_request
from services.evaluation.domain import Prompt, Request, Version
from services.evaluation.ports import Scores
from services.evaluation.suites import by_group, held_out_pairs
from services.evaluation.suites.win_rate import _win
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1 import people_pb2
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.estimates import Estimate, figure_name
from shared.language.groups import EVERYONE_ELSE, UNKNOWN, Composition
from shared.language.messages import text_message
from shared.language.pairs import Pair
from shared.state import operations
from shared.statistics.intervals import wilson
from tests.unit.evaluation.test_service import HELD_OUT, LONG, SHORT, House, asked_for

NEW, OLD = Version("assistant-v1", "v1"), Version("assistant-v0", "base")
ASKED = Request("e1", "local", NEW, OLD)


def prompt(user: str, people: str = "", text: str = "Why?") -> Prompt:
    return Prompt((text_message("user", text),), user, (people,) if people else ())


def scores(rewards: list[float], **groups: list[float]) -> Scores:
    each = [{name: values[at] for name, values in groups.items()} for at in range(len(rewards))]
    return Scores(tuple(rewards), tuple(each), "rewardModels/reward-v1")


def test_a_groups_win_rate_is_by_its_own_reward() -> None:
    """Everyone's reward prefers the new answers; "longer" prefers the old ones in three of four, and one is a
    tie."""
    asked = [prompt(f"u{n}") for n in range(4)]
    found = {
        NEW: scores([1.0] * 4, shorter=[2.0] * 4, longer=[0.0, 0.0, 0.0, 1.0]),
        OLD: scores([0.0] * 4, shorter=[1.0] * 4, longer=[1.0, 1.0, 1.0, 1.0]),
    }
    longer, shorter = by_group.win_rates(ASKED, asked, found, OLD, _win, "win_rate")
    assert (longer.name, longer.group, longer.value) == ("win_rate", "longer", 0.125)
    assert (shorter.name, shorter.group, shorter.value) == ("win_rate", "shorter", 1.0)
    assert (longer.low, longer.high) == pytest.approx(wilson(0.5, 4))
    assert (longer.count, longer.users) == (4, 4)
    assert figure_name(longer) == "win_rate/group/longer"


def test_a_wish_rate_counts_what_was_asked_for() -> None:
    """By the groups' names, against what the champion gives each."""
    asked = [prompt(f"u{n}") for n in range(4)]
    lists = Version("lists in assistant-v0", "lists")
    champion = replace(OLD, composition=Composition.by_group({"wants.form=list": "lists"}, "base"))
    written = {
        NEW: ["- one\n- two", "one and two", "1. one", "one two three"],
        OLD: ["one", "one and two", "one and two", "one two"],
        lists: ["* one", "- one", "one", "1) one"],
    }
    groups = ["everyone else", "wants.form=list", "wants.length=shorter", "wants.tone=formal"]
    found = by_group.wish_rates(ASKED, asked, written, groups, champion, "win_rate")
    assert [(one.name, one.group, one.value) for one in found] == [
        ("wish_rate", "wants.form=list", (0.5 + 0.0 + 1.0 + 0.0) / 4),
        ("wish_rate", "wants.length=shorter", (0.0 + 0.5 + 1.0 + 0.0) / 4),
    ]
    assert (found[0].low, found[0].high) == pytest.approx(wilson(1.5, 4))
    assert (found[0].count, found[0].users, found[0].suite) == (4, 4, "win_rate")
    assert lists in {champion.as_served(one) for one in champion.all_served}


def test_where_nobody_is_divided_there_are_no_groups() -> None:
    asked = [prompt("u1"), prompt("u2")]
    found = {NEW: scores([1.0, 1.0]), OLD: scores([0.0, 0.0])}
    assert by_group.win_rates(ASKED, asked, found, OLD, _win, "win_rate") == []


def test_how_well_off_users_are_by_hand() -> None:
    """u1 and u2 like it short, u3 long; u4 is known to be in no group: everyone's reward speaks for them."""
    asked = [
        prompt("u1", "shorter"),
        prompt("u1", "shorter", "And?"),
        prompt("u2", "shorter"),
        prompt("u3", "longer"),
        prompt("u4", UNKNOWN),
        prompt(""),
    ]
    by_new = scores(
        [0.0, 0.0, 0.0, 0.0, 1.0, 9.0],
        shorter=[2.0, 0.0, 2.0, 2.0, 2.0, 2.0],
        longer=[-2.0] * 6,
    )
    found = by_group.well_being(ASKED, asked, {NEW: by_new}, "win_rate")
    chance = {x: 1 / (1 + exp(-x)) for x in (-2.0, 0.0, 1.0, 2.0)}
    u1, u2, u3, u4 = (chance[2.0] + chance[0.0]) / 2, chance[2.0], chance[-2.0], chance[1.0]
    by_name = {one.name: one for one in found}
    assert by_name["welfare_mean"].value == pytest.approx((u1 + u2 + u3 + u4) / 4)
    assert by_name["welfare_worst_group"].value == pytest.approx(u3)
    ordered = sorted((u1, u2, u3, u4))
    assert by_name["welfare_percentile_20"].value == pytest.approx(
        ordered[0] + 0.6 * (ordered[1] - ordered[0])
    )
    gini = sum((2 * i - 3) * x for i, x in enumerate(ordered)) / (4 * sum(ordered))
    assert by_name["welfare_gini"].value == pytest.approx(gini)
    for one in found:
        assert one.low <= one.value <= one.high
        assert (one.count, one.users, one.method) == (4, 4, "bootstrap-by-user")
    assert by_name["welfare_mean"].low < by_name["welfare_mean"].value


def test_a_user_of_no_learnt_group_is_judged_by_their_segments_reward() -> None:
    asked = [Prompt((text_message("user", "Why?"),), "u1", (UNKNOWN, "plan=free")), prompt("u2")]
    by_new = scores([2.0, 2.0], **{"plan=free": [-2.0, 0.0]})
    by_name = {
        one.name: one for one in by_group.well_being(ASKED, asked, {NEW: by_new}, "win_rate")
    }
    chances = [1 / (1 + exp(2.0)), 1 / (1 + exp(-2.0))]
    assert by_name["welfare_mean"].value == pytest.approx(sum(chances) / 2)
    assert by_name["welfare_worst_group"].value == pytest.approx(chances[0])


def test_a_user_who_is_in_no_group_is_judged_as_everyone_else() -> None:
    asked = [Prompt((text_message("user", "Why?"),), "u1", ("plan=free",)), prompt("u2")]
    by_new = scores([2.0, 2.0], **{"plan=free": [-2.0, 0.0], EVERYONE_ELSE: [0.0, -1.0]})
    by_name = {
        one.name: one for one in by_group.well_being(ASKED, asked, {NEW: by_new}, "win_rate")
    }
    chances = [1 / (1 + exp(2.0)), 1 / (1 + exp(1.0))]
    assert by_name["welfare_mean"].value == pytest.approx(sum(chances) / 2)
    assert by_name["welfare_worst_group"].value == pytest.approx(chances[0])


def test_a_composition_answers_by_a_declared_segment() -> None:
    version = replace(NEW, composition=Composition.by_group({"plan=free": "v1"}, "base"))
    groups = [(UNKNOWN, "plan=free"), (UNKNOWN, "plan=pro"), ()]
    assert [version.served_to(one) for one in groups] == ["v1", "base", "base"]


def test_one_user_says_nothing_of_how_well_off_people_are() -> None:
    assert by_group.well_being(ASKED, [prompt("u1")], {NEW: scores([1.0])}, "win_rate") == []


def test_held_out_pairs_are_counted_group_by_group() -> None:
    def pair(user: str, *groups: str) -> Pair:
        sides = text_message("assistant", "chosen"), text_message("assistant", "rejected")
        return Pair(user, None, (text_message("user", "Why?"),), *sides, groups=groups)

    pairs = [
        pair("u1", "shorter"),
        pair("u2", "shorter", "plan=free"),
        pair("u3", "longer"),
        pair("u4"),
    ]
    found = held_out_pairs._by_group(ASKED, NEW, pairs, [1.0, 1.0, 0.0, 0.0])
    assert [(one.group, one.value, one.count) for one in found] == [
        ("longer", 0.0, 1),
        ("plan=free", 1.0, 1),
        ("shorter", 1.0, 2),
    ]


def test_an_evaluation_tells_what_each_group_makes_of_it() -> None:
    by_length = {
        "shorter": lambda text: (50 - len(text)) / 20,
        "longer": lambda text: (len(text) - 50) / 20,
    }
    house = House(scorer=ScriptedScorer(lambda text: -len(text), groups=by_length))
    asked = asked_for()
    for pair in asked.held_out_pairs:
        pair.groups.append("shorter" if pair.user_id == HELD_OUT[0] else "longer")
    told = told_of(house, asked)
    assert told["win_rate", "shorter"].value == 1.0
    assert told["win_rate", "longer"].value < 0.1
    short, long = (1 / (1 + exp((len(text) - 50) / 20)) for text in (SHORT, LONG))
    worst = {v: told[f"welfare_worst_group{v}", ""].value for v in ("", "@assistant-v0")}
    assert worst == pytest.approx({"": 1 - short, "@assistant-v0": long})
    assert (told["held_out_pair_accuracy", "shorter"].users) == 1
    assert house.tracking.run_once()
    (run,) = house.tracker.runs.values()
    assert run.metrics["win_rate/group/shorter"] == 1.0


def test_a_figures_name_for_trackers_has_no_odd_characters() -> None:
    found = Estimate("win_rate", 0, 0, 1, group="plan=free & easy")
    assert figure_name(found) == "win_rate/group/plan_free _ easy"


def told_of(house: House, asked: pb.EvaluateRequest) -> dict[tuple[str, str], common.Estimate]:
    operation = house.start(asked)
    house.finish()
    response = pb.EvaluateResponse()
    operations.get(house.database, operation).response.Unpack(response)
    return {(one.name, one.group): one for one in response.evaluation.estimates}


def test_a_champion_of_several_weights_answers_each_group_by_theirs() -> None:
    """The champion gives "shorter" the same weights as the candidate's, and everyone else the base model."""
    by_length = {
        "shorter": lambda text: (50 - len(text)) / 20,
        "longer": lambda text: (len(text) - 50) / 20,
    }
    house = House(scorer=ScriptedScorer(lambda text: -len(text), groups=by_length))
    composition = people_pb2.Composition(served_names={"shorter": "v1"}, others="base")
    asked = asked_for(champion_composition=composition, suites=["win_rate", "form"])
    for pair in asked.held_out_pairs:
        pair.groups.append("shorter" if pair.user_id in HELD_OUT[:5] else "longer")
    told = told_of(house, asked)
    assert told["win_rate", "shorter"].value == 0.5
    assert told["win_rate", "longer"].value == 0.0
    # Of 24 requests five are by users who get the short answers from the champion, too.
    assert told["win_rate", ""].value == pytest.approx((5 * 0.5 + 19) / 24)
    assert told["length_words@assistant-v0", ""].value == pytest.approx((5 * 5 + 19 * 16) / 24)
    # Candidate, control, and the base model: what the champion gives "shorter" is the candidate's.
    assert house.policy.asked == 24 * 3


def test_a_request_keeps_what_the_champion_is_made_of() -> None:
    composition = people_pb2.Composition(served_names={"shorter": "v1"}, others="base")
    read = decode_request("e1", "local", asked_for(champion_composition=composition))
    assert read.champion is not None
    assert read.champion.composition == Composition.by_group({"shorter": "v1"}, "base")
    assert decode_request("e1", "local", encode_request(read)) == read
