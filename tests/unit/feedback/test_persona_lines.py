"""Lines of a persona: what supports them, which are kept, and what outranks what."""

from datetime import UTC, datetime

import pytest

from services.feedback.mining.domain import Label, Mined, Source
from services.feedback.personas.app.lines import (
    Evidence,
    Said,
    compose,
    line_of,
    merge,
    same_subject,
    sensitive_category,
    states_a_wish,
)
from services.feedback.personas.app.writing import check_persona, said_by, template, whole_sentences
from services.feedback.personas.domain import Basis, PersonaLine
from shared.language.messages import text_message
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LEAST = Evidence(stated=1, inferred=2)
TURN = "tenants/local/conversations/c/turns/"


def complaint(text: str, turn_id: str = "t2") -> Mined:
    label = Label(FollowUpKind.REATTEMPT_WITH_FEEDBACK, {}, 1.0)
    return Mined(
        "f",
        "local",
        "ada",
        "c",
        Source.FOLLOW_UP,
        label,
        NOW,
        follow_up=text,
        follow_up_turn_id=turn_id,
    )


def own_turn(text: str, turn_id: str) -> Turn:
    return Turn("local", "c", 0, text_message("user", text), "ada", turn_id, create_time=NOW)


def inferred(text: str, *names: str) -> PersonaLine:
    return PersonaLine(text, Basis.INFERRED, names)


def stated(text: str, *names: str) -> PersonaLine:
    return PersonaLine(text, Basis.STATED, names)


def corrected(text: str) -> PersonaLine:
    return PersonaLine(text, Basis.CORRECTED)


def test_what_the_model_wrote_is_cut_to_whole_sentences() -> None:
    assert check_persona("This user likes short answers. And so") == (
        ["This user likes short answers."],
        "",
    )
    assert check_persona("  ") == ([], "EMPTY")
    assert check_persona("I'm sorry, I can't do that.") == ([], "REFUSAL")
    assert check_persona("word " * 80) == ([], "TOO_LONG")
    assert whole_sentences("One two. Three four five.", 4) == ["One two."]


def test_a_line_rests_on_the_turns_that_say_the_same_and_on_no_others() -> None:
    said = [
        Said("t8", "What about cats?", False),
        Said("t6", "that was too long!", True),
        Said("t4", "How do rivers flow?", False),
    ]
    line = line_of("This user likes short answers.", said)
    assert line == stated("This user likes short answers.", "t6")
    assert line_of("This user asks about rivers.", said) == inferred(
        "This user asks about rivers.", "t4"
    )
    assert line_of("This user enjoys gardening a lot.", said) is None


def test_a_complaint_that_is_a_turn_supports_once_and_wishes_are_told_from_questions() -> None:
    said = said_by(
        [complaint("too long")],
        [own_turn("too long", "t2"), own_turn("I prefer tables", "t4"), own_turn("why?", "t6")],
    )
    assert [(one.name, one.is_wish) for one in said] == [
        (f"{TURN}t2", True),
        (f"{TURN}t4", True),
        (f"{TURN}t6", False),
    ]
    assert states_a_wish("From now on use metric units") and not states_a_wish("How tall is it?")


def test_explicit_feedback_is_evidence_under_its_own_name() -> None:
    (line,) = template([complaint("use a list!", turn_id="")])
    assert line == stated('This user said of answers: "use a list".', "tenants/local/feedback/f")


def test_the_template_quotes_the_user_and_the_newest_wish_on_a_subject_stands() -> None:
    newest_first = [
        complaint("more detail", "t9"),
        complaint("a list"),
        complaint("too long", "t1"),
    ]
    lines = merge((), template(newest_first), (), LEAST).lines
    assert compose(lines) == (
        'This user said of answers: "more detail". This user said of answers: "a list".',
        (f"{TURN}t9", f"{TURN}t2"),
    )


def test_saying_the_same_again_adds_evidence_and_the_contrary_replaces_it() -> None:
    first = merge((), [stated("Wants short answers.", "t1")], (), LEAST).lines
    again = merge(first, [stated("Wants brief answers.", "t5")], (), LEAST).lines
    assert again == (stated("Wants brief answers.", "t5", "t1"),)
    contrary = merge(again, [stated("Wants longer answers.", "t9")], (), LEAST).lines
    assert contrary == (stated("Wants longer answers.", "t9"),)


def test_what_is_inferred_waits_for_its_second_turn() -> None:
    once = merge((), [inferred("Asks about rivers.", "t1")], (), LEAST)
    assert once.outcomes == (("abstained", "TOO_LITTLE_EVIDENCE"),)
    assert compose(once.lines) == ("", ())
    twice = merge(once.lines, [inferred("Asks about rivers.", "t3")], (), LEAST)
    assert twice.outcomes == (("made", "inferred"),)
    assert compose(twice.lines) == ("Asks about rivers.", ("t3", "t1"))
    same_turn = merge(once.lines, [inferred("Asks about rivers.", "t1")], (), LEAST)
    assert not same_turn.lines[0].used


def test_stated_outranks_inferred_and_a_correction_outranks_both() -> None:
    says = [stated("Wants short answers.", "t1")]
    found = merge(says, [inferred("Likes long, detailed answers.", "t2", "t3")], (), LEAST)
    assert (found.outcomes, found.lines) == ((("dropped", "OUTRANKED"),), tuple(says))
    over = merge(
        [inferred("Likes detailed answers.", "t2", "t3")], [stated("Be brief!", "t4")], (), LEAST
    )
    assert over.lines == (stated("Be brief!", "t4"),)
    right = [corrected("I like long answers.")]
    for line in (stated("Wants short answers.", "t1"), inferred("Likes brevity: short.", "a", "b")):
        assert merge(right, [line], (), LEAST).outcomes == (("dropped", "CORRECTED"),)
    other = merge(right, [stated("Wants tables.", "t1")], (), LEAST)
    assert [line.text for line in other.lines] == ["I like long answers.", "Wants tables."]


def test_what_was_struck_does_not_come_back_in_other_words() -> None:
    struck = ["This user prefers short answers."]
    found = [inferred("Likes concise replies.", "t1", "t2"), stated("Wants a list.", "t3")]
    merged = merge((), found, struck, LEAST)
    assert merged.outcomes == (("dropped", "CORRECTED"), ("made", "stated"))


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("This user has diabetes and wants short answers.", "HEALTH"),
        ("This user is a Muslim who likes lists.", "RELIGION"),
        ("This user votes for the Republicans.", "POLITICS"),
        ("This user is gay.", "SEXUALITY"),
        ("This user is of Arab descent, an immigrant.", "ETHNICITY"),
        ("This user was convicted once.", "OFFENCES"),
        ("This user wants short answers on rivers, in plain words.", ""),
        ("This user likes embraces and raceways.", ""),
    ],
)
def test_sensitive_traits_are_recognised(text: str, category: str) -> None:
    assert sensitive_category(text) == category


def test_sensitive_traits_are_dropped_with_their_category_also_where_they_were_stated() -> None:
    found = [stated("Said: as a diabetic I want it short.", "t1"), stated("Wants lists.", "t2")]
    merged = merge((), found, (), LEAST)
    assert merged.outcomes == (("dropped", "SENSITIVE_HEALTH"), ("made", "stated"))
    assert [line.text for line in merged.lines] == ["Wants lists."]


def test_a_text_is_of_whole_lines_the_strongest_first() -> None:
    lines = [corrected("word " * 40 + "end."), stated("many " * 30, "t1"), stated("Fits.", "t2")]
    text, evidence = compose(lines)
    assert text.split()[-2:] == ["end.", "Fits."]
    assert evidence == ("t2",)
    assert same_subject("no lists please", "use bullets") and not same_subject("rivers", "lists")
