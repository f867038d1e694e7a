"""What a follow-up that says nothing inherits from those after it."""

import pytest

from services.feedback.mining.app.hindsight import STAGE, is_neutral, is_strong
from services.feedback.mining.domain import Label
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import FEEDBACK_MINED, PREFERENCE_PROPOSED
from shared.language.verdicts import FollowUpKind
from tests.unit.feedback.house import LONG, SHORT, House, turn

RIVERS, LOL_RIVERS = "rivers of france", "lol rivers of france"
HINDSIGHT = events.FEEDBACK_SOURCE_HINDSIGHT


@pytest.fixture
def house() -> House:
    return House()


def inherited(house: House) -> list[tuple[str, str, int]]:
    """(answer's turn, whose label, kind), by answer."""
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    turns = {one.feedback_id: one.follow_up_turn_id for one in found}
    return sorted(
        (one.answer_turn_id, turns[one.inherits_from], one.kind)
        for one in found
        if one.source == HINDSIGHT
    )


def test_a_neutral_turn_inherits_the_next_strong_label(house: House) -> None:
    house.chat_with("ada", "c1", RIVERS, SHORT, LOL_RIVERS, SHORT, "wrong")
    house.settle()
    first, strong, label = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert (first.kind, first.source) == (
        events.FOLLOW_UP_KIND_NONE,
        events.FEEDBACK_SOURCE_FOLLOW_UP,
    )
    assert (label.source, label.inherits_from) == (HINDSIGHT, strong.feedback_id)
    assert label.feedback_id not in (first.feedback_id, strong.feedback_id)
    # Of the neutral one's answer, by the strong one's label, at the strong one's time.
    assert (label.answer_turn_id, label.follow_up_turn_id) == ("t1", "t2")
    assert label.kind == events.FOLLOW_UP_KIND_REATTEMPT_WITHOUT_FEEDBACK
    assert label.dissatisfaction == pytest.approx(0.925) == strong.dissatisfaction
    assert label.satisfaction == strong.satisfaction
    assert label.create_time == strong.create_time
    assert label.step == strong.step
    assert house.counts(STAGE) == {("taken", ""): 1, ("made", "inherited"): 1}
    assert house.counts("feedback.turns")[("made", "judged")] == 2
    assert house.adds_up()
    listed = house.parts.feedback.page("local", (), None, 10)
    assert [one.source for one in listed.items] == ["follow_up", "follow_up", "hindsight"]
    assert listed.items[2].inherits_from == strong.feedback_id


def test_not_where_the_requests_are_of_something_else(house: House) -> None:
    house.chat_with("ada", "c1", RIVERS, SHORT, "lol", SHORT, "thanks")
    house.settle()
    assert inherited(house) == []
    assert house.counts(STAGE) == {("taken", ""): 1, ("abstained", "DISSIMILAR"): 1}


def test_the_rule_begins_at_a_cosine_of_a_half(house: House) -> None:
    # Two words of four, and one of four, in common.
    house.chat_with("ada", "c1", "deep wide rivers here", SHORT, "lol deep wide ok", SHORT, "wrong")
    house.chat_with("ben", "c2", "deep wide rivers here", SHORT, "lol deep no ok", SHORT, "wrong")
    house.settle()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    cosines = {
        talk: sum(a * b for a, b in zip(*vectors, strict=True))
        for talk in ("c1", "c2")
        for vectors in [
            [
                one.request_embedding
                for one in found
                if one.conversation_id == talk and one.source != HINDSIGHT
            ]
        ]
    }
    assert cosines == {"c1": pytest.approx(0.5, abs=1e-6), "c2": pytest.approx(0.25, abs=1e-6)}
    assert [one.conversation_id for one in found if one.source == HINDSIGHT] == ["c1"]


def test_two_turns_back_and_no_further(house: House) -> None:
    texts = (
        RIVERS,
        SHORT,
        LOL_RIVERS,
        SHORT,
        LOL_RIVERS,
        SHORT,
        "maybe " + RIVERS,
        SHORT,
        "thanks",
    )
    house.chat_with("ada", "c1", *texts)
    house.settle()
    praise = events.FOLLOW_UP_KIND_POSITIVE
    assert inherited(house) == [("t3", "t8", praise), ("t5", "t8", praise)]  # t5: not sure
    assert house.counts(STAGE) == {("taken", ""): 2, ("made", "inherited"): 2}


def test_the_nearer_of_two_strong_labels_is_inherited(house: House) -> None:
    house.chat_with(
        "ada", "c1", RIVERS, SHORT, LOL_RIVERS, SHORT, "wrong " + RIVERS, SHORT, "thanks"
    )
    house.settle()
    wrong = events.FOLLOW_UP_KIND_REATTEMPT_WITHOUT_FEEDBACK
    assert inherited(house) == [("t1", "t4", wrong)]
    assert house.counts(STAGE) == {
        ("taken", ""): 2,
        ("made", "inherited"): 1,
        ("abstained", "ALREADY_INHERITED"): 1,
    }


def test_a_neutral_turn_judged_late_looks_ahead(house: House) -> None:
    turns = [turn("ada", "c1", n, text) for n, text in
             enumerate((RIVERS, SHORT, LOL_RIVERS, SHORT, "wrong " + RIVERS, SHORT, "thanks"))]  # fmt: skip
    house.log_turns(turns[0], *turns[2:])
    house.settle()
    assert inherited(house) == []
    house.log_turns(turns[1])
    house.settle()
    assert [one[:2] for one in inherited(house)] == [("t1", "t4")]
    assert house.adds_up()


def test_another_users_words_are_not_inherited(house: House) -> None:
    house.chat_with("ada", "c1", RIVERS, SHORT, LOL_RIVERS)
    house.log_turns(turn("ada", "c1", 3, SHORT), turn("ben", "c1", 4, "wrong"))
    house.settle()
    assert inherited(house) == []
    assert house.counts(STAGE) == {}


def test_hindsight_is_no_complaint_and_makes_no_pair(house: House) -> None:
    house.chat_with("ada", "c1", RIVERS, LONG, LOL_RIVERS, LONG, "shorter please")
    house.settle()
    assert [one[:2] for one in inherited(house)] == [("t1", "t4")]
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == 1
    said = house.parts.feedback.complaints("local", "ada", 10)
    assert [one.follow_up for one in said] == ["shorter please"]


@pytest.mark.parametrize(
    ("kind", "dissatisfaction", "reason", "neutral", "strong"),
    [
        (FollowUpKind.NONE, 0.4, "", True, False),
        (FollowUpKind.NONE, 0.4, "TOO_SHORT", False, False),
        (FollowUpKind.POSITIVE, 0.2, "", False, True),
        (FollowUpKind.POSITIVE, 0.21, "", False, False),
        (FollowUpKind.POSITIVE, 0.1, "LOW_CONFIDENCE", True, False),
        (FollowUpKind.REATTEMPT_WITH_FEEDBACK, 0.8, "", False, True),
        (FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK, 0.79, "", False, False),
        (FollowUpKind.REATTEMPT_WITH_FEEDBACK, 0.4, "SIGNALS_DISAGREE", True, False),
        (FollowUpKind.NEW_REQUEST, 0.0, "", False, False),
    ],
)
def test_neutral_and_strong(
    kind: FollowUpKind, dissatisfaction: float, reason: str, neutral: bool, strong: bool
) -> None:
    label = Label(kind, {}, dissatisfaction, reason)
    assert (is_neutral(label), is_strong(label)) == (neutral, strong)
