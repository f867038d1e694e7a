"""The champion told what users wish for, as a cheaper arm of the evaluation."""

from __future__ import annotations

import pytest

from services.retrain.codec import encode_contest, encode_run
from services.retrain.domain.in_context import instruction_of
from services.retrain.domain.report import report_of
from services.retrain.domain.report_words import in_context_words
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.estimates import Estimate
from shared.language.topics import PREFERENCE_MINED
from shared.state.stage import drain
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import TRAINED, pair
from tests.unit.retrain.test_gate import figures
from tests.unit.retrain.test_report import WIN, rate, run

SHORT = "Keep every answer short: two or three sentences at most."


def said(*words: tuple[str, str]) -> str:
    """The instruction that pairs of (user, what they said) give."""
    return instruction_of(pair(n, user, feedback_text=text) for n, (user, text) in enumerate(words))


def test_the_wish_of_most_users_is_what_it_is_told() -> None:
    # One user who says it three times is one.
    many = [("a", "as a list please")] * 3
    assert said(*many, ("b", "shorter please"), ("c", "too long")) == SHORT
    assert said(
        ("a", "shorter"), ("b", "a list"), ("c", "shorter, as a list"), ("d", "a list")
    ) == ("Answer as a list of points, one a line.")


@pytest.mark.parametrize(
    "words", [[], [("a", "shorter")], [("a", "that is wrong"), ("b", "no"), ("c", "")]]
)
def test_without_a_wish_of_two_users_it_is_told_nothing(words: list[tuple[str, str]]) -> None:
    assert said(*words) == ""


def told(house: House) -> House:
    for number in range(30):
        mined = pair(number, TRAINED[number], feedback_text="shorter please")
        value = events_pb2.PreferenceMined(pair=encode_pair(mined)).SerializeToString()
        house.publish(PREFERENCE_MINED, mined.pair_id, value)
    drain(house.pairs)
    house.start("r1")
    return house


def test_a_run_measures_its_champion_told_so() -> None:
    house = told(House())
    house.evaluator.estimates = figures(
        told=Estimate("win_rate@in_context", 0.78, 0.66, 0.87, count=60)
    )
    found = house.walk()
    control, arm = house.evaluator.contests[-1].controls
    assert control.version == found.control_version
    assert (arm.version, arm.served_name, arm.adapter_path) == ("in_context", "base", "")
    assert arm.instruction == found.instruction == encode_run(found).instruction == SHORT
    sent = encode_contest(house.evaluator.contests[-1]).controls[1]
    assert (sent.model_version, sent.instruction) == ("in_context", SHORT)
    report = report_of(found, None)
    assert report.in_context == (
        f"The champion without any training, told \u201c{SHORT}\u201d, does as well as far as can be told:"
        " 80% against 78%, a difference of +2 points [-13, +16]."
    )
    (row,) = (row for row in report.figures if row.name == "win_rate")
    assert [one.role for one in row.measured] == ["candidate", "in context"]


def test_it_can_be_switched_off() -> None:
    house = told(House(in_context_arm=False))
    found = house.walk()
    assert found.instruction == ""
    assert len(house.evaluator.contests[-1].controls) == 1
    assert in_context_words(found) == ""


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (rate("win_rate@in_context", 0.3, 0.2, 0.4), "does less well: 74% against 30%"),
        (rate("win_rate@in_context", 0.95, 0.9, 0.99), "does better: 74% against 95%"),
        (rate("win_rate@other", 0.9, 0.8, 0.95), "was not measured."),
    ],
)
def test_the_report_says_whether_it_does_as_well(theirs: Estimate, words: str) -> None:
    assert words in in_context_words(run(WIN, theirs, instruction=SHORT))
