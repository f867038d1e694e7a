"""Pure rules: candidates, personas, contexts, features and labels, explicit values."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.feedback.mining.adapters.memory import HashingEmbedder
from services.feedback.mining.app.classifier import (
    FEATURES,
    Classifier,
    Exchange,
    Head,
    cheap_features,
    design,
    embed_exchanges,
    label_of,
    load_head,
    save_head,
)
from services.feedback.mining.app.explicit import verdict_of
from services.feedback.mining.domain import KINDS, bounded_context
from services.feedback.pairs.app.candidates import (
    clean,
    heeds,
    problem_of,
    tokens_for,
    usable,
    wish_prompt,
)
from shared.language.messages import text_message
from shared.language.opinions import Demonstration, ExplicitFeedback, Rating
from shared.language.verdicts import FollowUpKind

NOW = datetime(2026, 11, 20, tzinfo=UTC)
TWENTY = "one two three four five six seven eight nine ten " * 2


@pytest.mark.parametrize(
    ("follow_up", "text", "does"),
    [
        ("no, shorter please", "six words make this one short", True),
        ("too long", TWENTY, False),
        ("keep it under 8 words", "six words make this one short", True),
        (
            "that's way more than I needed, keep it under 5 words",
            "six words make up this one",
            False,
        ),
        ("40 words max.", TWENTY, True),
        ("That was 20 words! I need it in 8 or fewer.", TWENTY, False),
        ("Give me 8 words, no more.", TWENTY, False),
        ("no more than 8 words", "six words make this one short", True),
        ("Only 6 words? I need 20 words or more.", TWENTY, True),
        ("too brief, at least 30 words please", TWENTY, False),
        ("more detail please", "six words make this one short", False),
        ("more detail please", TWENTY + "eleven", True),
        ("please use a list", "- one\n- two", True),
        ("please use a list", "one and two", False),
        ("no lists please, just prose", "- one\n- two", False),
        ("No, please use a list.", "- one\n- two", True),
        ("No, please use a list.", "one and two", False),
        ("That's not how I want it: use a list.", "one and two", False),
        ("Please don't use bullet points.", "- one\n- two", False),
        ("Please don't use bullet points.", "one and two", True),
        ("The first step is wrong.", "one and two", True),
        ("As a table, please.", "one and two", False),
        ("As a table, please.", "| one | two |\n|---|---|", True),
        ("A list or a table would be better.", "- one\n- two", True),
        ("that's wrong, it should be the other one", TWENTY, True),
    ],
)
def test_wishes_that_can_be_counted(follow_up: str, text: str, does: bool) -> None:
    assert heeds(text, TWENTY.strip(), follow_up) is does


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Too few words.", "TOO_FEW_WORDS"),
        ("well aaaaaaaa this is it.", "REPETITION"),
        ("no no no no no no no no no no.", "REPETITION"),
        (
            "Names for it:\n- Grey\n- Grey\n- Grey\n- Grey\n- Grey\nAll of these are fine.",
            "REPETITION",
        ),
        ("Names for it:\n- Grey\n- Ash\n- Smoke\n- Pepper\n- Luna\nAll of these are fine.", ""),
        ("The answer as it WAS before.", "SAME_AS_ANSWER"),
        ("You said make it sound friendly please so here.", "LEAKS_FEEDBACK"),
        ("A river is water that flows.", ""),
    ],
)
def test_the_floor_of_sanity(text: str, problem: str) -> None:
    original = "the answer  as it was before."
    assert problem_of(text, original, "make it sound friendly please") == problem


def test_unfinished_candidates_are_cut_at_their_last_sentence() -> None:
    assert clean(" It flows to the sea. And then the wat") == "It flows to the sea."
    assert clean("It never ends and") == ""
    assert clean("Is it so? Yes.\n\nAnd then") == "Is it so? Yes."
    assert clean("Take these:\n1. A pan\n2. Oil, and in 2026. Th") == (
        "Take these:\n1. A pan\n2. Oil, and in 2026."
    )
    assert clean("Take these:\n1. A pan\n2. Oil\n3. So") == "Take these:\n1. A pan\n2. Oil"
    assert clean("Take these:\n- A pan.\n\n3.") == "Take these:\n- A pan."
    assert clean("Take these:\n1. A pa") == ""
    assert usable(["It flows to the sea. And"] * 2, "x", "") == (["It flows to the sea."], [])


def test_candidates_get_the_tokens_that_their_wish_needs() -> None:
    original = "word " * 100
    assert tokens_for(original, "at most 40 words please", 120) == 76
    assert tokens_for(original, "shorter please", 120) == 116
    assert tokens_for(original, "at least 40 words please", 120) == 120
    assert tokens_for(original, "5 words", 120) == 24
    assert tokens_for(original, "use a table", 120) == 120


def test_the_wish_is_a_suffix_of_the_request() -> None:
    context = [
        text_message("user", "a"),
        text_message("assistant", "b"),
        text_message("user", "c?"),
    ]
    assert [m.text for m in wish_prompt(context, "shorter")] == ["a", "b", "c?\n\n(shorter)"]
    form = "c?\n\n(Answer as a list of points, one a line.)"
    assert wish_prompt(context, "No, please use a list.")[-1].text == form
    both = "use a list, and at most 40 words"
    assert wish_prompt(context, both)[-1].text == f"c?\n\n({both})"
    more = "use a list, and say of each of them what it is for and how much it costs me"
    assert wish_prompt(context, more)[-1].text == f"c?\n\n({more})"


def test_context_keeps_the_newest_and_starts_with_the_user() -> None:
    roles = ("user", "assistant", "user", "assistant", "user")
    messages = [text_message(role, str(n) * 10) for n, role in enumerate(roles)]
    assert [m.text[0] for m in bounded_context(messages, 4, 1000)] == ["2", "3", "4"]
    assert [m.text[0] for m in bounded_context(messages, 9, 25)] == ["4"]
    assert [m.text[0] for m in bounded_context(messages, 9, 1)] == ["4"]


def test_cheap_features_say_what_they_are_named_for() -> None:
    exchange = Exchange("what is a river", "Sorry, a river is long.", "No, too LONG! What is it?")
    found = dict(zip(FEATURES, cheap_features(exchange, (0.1, 0.2, 0.3)), strict=True))
    assert (found["starts_no"], found["length"], found["too"], found["thanks"]) == (1, 1, 1, 0)
    assert (found["question_mark"], found["exclamation"], found["apology_before"]) == (1, 1, 1)
    assert found["cos_request"] == 0.1
    assert found["overlap_request"] == pytest.approx(2 / 6)
    assert found["log_words"] == pytest.approx(np.log(7))


def head(dimensions: int) -> Head:
    size = 3 * dimensions + len(FEATURES)
    weights = np.zeros((size, len(KINDS)))
    weights[3 * dimensions + FEATURES.index("thanks"), KINDS.index(FollowUpKind.POSITIVE)] = 4.0
    return Head(weights, np.zeros(len(KINDS)), np.zeros(size), np.ones(size), 2.0, 0.6)


def test_labels_are_the_softmax_of_the_head_over_the_temperature() -> None:
    classifier = Classifier(HashingEmbedder(8), head(8), 0.6)
    exchanges = [Exchange("a", "b", "thanks"), Exchange("a", "b", "hm"), Exchange("a", "b", "")]
    labels, vectors, similarities = classifier.judge(exchanges)
    assert labels[0].kind is FollowUpKind.POSITIVE
    assert labels[0].probabilities["positive"] == pytest.approx(np.e**2 / (np.e**2 + 4))
    assert labels[0].dissatisfaction == pytest.approx(2 / (np.e**2 + 4))
    assert [label.abstain_reason for label in labels] == ["", "LOW_CONFIDENCE", "NON_TEXT"]
    assert vectors.shape == (3, 8)
    texts = classifier.embedder.embed(["a", "thanks"])
    assert similarities[0] == pytest.approx(float(texts[0] @ texts[1]))
    assert classifier.judge([]).labels == []


def test_marks_alone_are_too_short_but_a_question_mark_is_not() -> None:
    row = np.array([0.9, 0.1, 0.0, 0.0, 0.0])
    assert label_of(Exchange("a", "b", "..."), row, 0.5, 0.1).abstain_reason == "TOO_SHORT"
    assert label_of(Exchange("a", "b", "???"), row, 0.5, 0.1).abstain_reason == ""


def test_it_abstains_where_kind_and_dissatisfaction_disagree() -> None:
    exchange, content = Exchange("a", "b", "next"), np.array([0.9, 0.1, 0.0, 0.0, 0.0])
    assert KINDS[0] is FollowUpKind.NEW_REQUEST and KINDS[1] is FollowUpKind.REATTEMPT_WITH_FEEDBACK
    assert label_of(exchange, content, 0.5, 0.49).abstain_reason == ""
    assert label_of(exchange, content, 0.5, 0.5).abstain_reason == "SIGNALS_DISAGREE"
    assert label_of(exchange, content, 0.95, 0.5).abstain_reason == "LOW_CONFIDENCE"
    complaint = np.array([0.1, 0.9, 0.0, 0.0, 0.0])
    assert label_of(exchange, complaint, 0.5, 0.5).abstain_reason == ""
    found = label_of(exchange, complaint, 0.5, 0.49)
    assert (found.abstain_reason, found.dissatisfaction) == ("SIGNALS_DISAGREE", 0.49)


def test_a_head_survives_its_file_and_refuses_other_features(tmp_path: Path) -> None:
    save_head(head(8), tmp_path / "head.npz")
    again = load_head(tmp_path / "head.npz")
    assert np.array_equal(again.weights, head(8).weights)
    assert (again.temperature, again.threshold) == (2.0, 0.6)
    exchange = [Exchange("a b", "b c", "thanks a lot")]
    inputs = design(exchange, *embed_exchanges(HashingEmbedder(8), exchange))
    assert np.allclose(again.probabilities(inputs), head(8).probabilities(inputs))


@pytest.mark.parametrize(
    ("given", "kind", "dissatisfaction"),
    [
        ({"value": True}, FollowUpKind.POSITIVE, 0.0),
        ({"value": False}, FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK, 1.0),
        ({"value": False, "comment": "too long"}, FollowUpKind.REATTEMPT_WITH_FEEDBACK, 1.0),
        ({"value": Rating(4, 1, 5)}, FollowUpKind.POSITIVE, 0.25),
        ({"value": Rating(3, 1, 5)}, FollowUpKind.NONE, 0.5),
        ({"value": Rating(0, 0, 10)}, FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK, 1.0),
        ({"value": Demonstration("Better.")}, FollowUpKind.REATTEMPT_WITH_FEEDBACK, 1.0),
        ({"comment": "hm"}, FollowUpKind.NONE, 0.5),
    ],
)
def test_what_explicit_values_say(
    given: dict[str, object], kind: FollowUpKind, dissatisfaction: float
) -> None:
    explicit = ExplicitFeedback("local", completion_id="x", create_time=NOW, **given)  # type: ignore[arg-type]
    verdict = verdict_of(explicit)
    assert (verdict.kind, verdict.dissatisfaction) == (kind, dissatisfaction)
