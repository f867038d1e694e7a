"""Rates from what was mined, and the reasons for which the demo fails."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infra.demo.act_two import ActTwo
from infra.demo.audit import Audit, Holdings, Sendings
from infra.demo.counts import Check, Tally
from infra.demo.measures import rate
from infra.demo.report import Report, effects, mined_rate
from infra.demo.users import Exchange, FailedCall
from shared.gen.trimtab.events.v1 import events_pb2


def mined(user: str, kind: str, abstained: bool = False) -> Any:
    value = events_pb2.FollowUpKind.Value(f"FOLLOW_UP_KIND_{kind}")
    return SimpleNamespace(user_id=user, kind=value, abstained=abstained)


def audit(*checks: Check) -> Audit:
    return Audit(Holdings(Tally(), 0, 0, 0, 0, 0), checks, under_way=0)


def report(**changes: Any) -> Report:
    empty = Report(
        one=None,
        two=ActTwo(first_champion="v0", champion="v1", verdict="promoted"),
        satisfaction=(),
        compared=(),
        sent=Sendings(0, 0, 0),
        audit=audit(),
        tally=Tally(),
        dashboard_url="http://127.0.0.1:8090",
        elapsed_s=1.0,
    )
    return replace(empty, **changes)


def test_a_rate_has_its_interval_and_its_users() -> None:
    found = rate([("a", True), ("a", False), ("b", True), ("c", True)])
    assert (found.hits, found.count, found.users) == (3, 4, 3)
    # Wilson's [0.3006, 0.9544], widened for the two of one user.
    assert found.interval.low == pytest.approx(0.3006, abs=1e-4)
    assert found.interval.high == 1.0
    assert rate([]).words == "none seen"
    assert rate([]).as_dict()["value"] is None


def test_a_rate_is_as_unsure_as_its_users_are_few() -> None:
    """181 follow-ups of five users, one of whom is content, are no 181 witnesses."""
    observations = [(f"u{number % 5}", number % 5 != 0) for number in range(181)]
    found = rate(observations)
    assert (found.hits, found.count, found.users) == (144, 181, 5)
    assert found.words.startswith("79.6% [39.")
    assert found.as_dict()["method"] == "wilson widened to bootstrap-by-user"
    alone = rate([(f"u{number}", number % 5 != 0) for number in range(181)])
    assert alone.interval.low == pytest.approx(0.731, abs=1e-3)


def test_only_judged_follow_ups_are_counted() -> None:
    found = mined_rate(
        [
            mined("a", "REATTEMPT_WITH_FEEDBACK"),
            mined("a", "REATTEMPT_WITHOUT_FEEDBACK", abstained=True),
            mined("b", "POSITIVE"),
            mined("b", "NEW_REQUEST"),
            mined("c", "NONE"),
        ]
    )
    assert (found.hits, found.count, found.users) == (1, 3, 2)


def seen(taste: str, phase: str, version: str, broken: int, count: int) -> list[Exchange]:
    return [
        Exchange(
            f"c{n}", f"u{n}", phase, taste, version, 50, "max_words" if n < broken else "", "next"
        )
        for n in range(count)
    ]


def test_whom_it_helped_and_whom_it_hurt_is_told_by_taste_losers_first() -> None:
    act = ActTwo(first_champion="v0", first_served="base", champion="v1", verdict="promoted")
    act.book.exchanges = [
        *seen("brief", "shift", "v0", 38, 40),
        *seen("brief", "rollout", "v1", 0, 40),  # not the champion then: says nothing of before
        *seen("brief", "measure", "v1", 2, 40),
        *seen("thorough", "shift", "v0", 1, 20),
        *seen("thorough", "measure", "v1", 19, 20),
        *seen("lists", "training", "v0", 5, 10),
        *seen("lists", "measure", "v1", 5, 10),
        *seen("calm", "shift", "v0", 2, 10),
        *[replace(one, served="base") for one in seen("calm", "measure", "v1", 8, 10)],
    ]
    found = effects(act, ["brief", "thorough", "lists", "nobody's", "calm"])
    assert [(one.taste, one.words) for one in found] == [
        ("thorough", "hurt"),
        ("nobody's", "not told"),
        ("lists", "no difference told"),
        ("calm", "spared"),
        ("brief", "helped"),
    ]
    assert (found[4].before.hits, found[4].now.hits, found[4].now.users) == (38, 2, 40)
    act.book.exchanges[-1] = replace(act.book.exchanges[-1], served="v1")
    assert effects(act, ["calm"])[0].words == "hurt"
    told = report(two=act, effects=found).as_dict()["effects"][0]
    assert (told["taste"], told["words"], told["now"]["hits"]) == ("thorough", "hurt", 19)


def test_a_closed_loop_has_no_problems() -> None:
    assert report().problems == []
    assert report().as_dict()["verdict"] == "promoted"


def test_a_mismatch_fails_the_demo() -> None:
    found = report(audit=audit(Check("a = b", 1, 1), Check("c = d", 1, 2))).problems
    assert found == ["1 sums do not add up: c = d"]


@pytest.mark.parametrize(
    ("phase", "fails"), [("rollout", True), ("training", True), ("calm", False)]
)
def test_a_failed_request_during_change_fails_the_demo(phase: str, fails: bool) -> None:
    two = ActTwo(first_champion="v0", verdict="promoted")
    two.book.failures.append(FailedCall(phase, "u", "HTTP 500"))
    assert bool(report(two=two).problems) is fails


def test_an_answer_of_an_unknown_version_fails_the_demo() -> None:
    two = ActTwo(first_champion="v0", verdict="promoted")
    two.book.calls["rollout", "v9"] += 1
    assert report(two=two).problems == ["answers came from versions that nobody rolled out: ['v9']"]


def test_words_of_an_act_that_broke_off_come_first() -> None:
    assert (
        report(two=ActTwo(problem="drift raised no alarm")).problems[0] == "drift raised no alarm"
    )
