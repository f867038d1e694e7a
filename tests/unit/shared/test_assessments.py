"""Whose opinion a score is, and its scale."""

import pytest

from shared.contracts.assessments import decode_assessment, encode_assessment
from shared.language.assessments import Assessment, is_of_person, rating_of
from shared.language.errors import InvalidArgument
from shared.language.opinions import Rating


@pytest.mark.parametrize(
    ("source", "name", "person"),
    [
        ("EVAL", "toxicity", False),
        ("EVAL", "user-feedback", False),  # an evaluator that looks for it
        ("llm_judge", "helpfulness", False),
        ("CODE", "thumbs", False),
        ("", "hallucination", False),
        ("API", "correctness", False),
        ("API", "user-feedback", True),
        ("", "userFeedback", True),
        ("", "Star rating", True),
        ("ANNOTATION", "correctness", True),
        ("HUMAN", "correctness", True),
        ("human", "", True),
        # A person who marks a fault does not praise the answer.
        ("human", "toxicity", False),
        ("ANNOTATION", "Hallucination", False),
    ],
)
def test_only_what_a_person_said_is_an_opinion(source: str, name: str, person: bool) -> None:
    assert is_of_person(source, name) is person


def test_a_scale_is_given_or_said_by_the_name() -> None:
    assert rating_of("quality", 1, 1, 5, "") == Rating(1, 1, 5)
    assert rating_of("thumbs-up", 1, None, None, "") == Rating(1, 0, 1)
    assert rating_of("stars", 1, None, None, "") == Rating(1, 1, 5)
    assert rating_of("NPS", 3, None, None, "") == Rating(3, 0, 10)


@pytest.mark.parametrize(("name", "value"), [("user-feedback", 1.0), ("stars", 0.0), ("", 0.5)])
def test_an_ambiguous_number_is_refused_with_what_to_send(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match="send min and max") as refused:
        rating_of(name, value, None, None, "send min and max")
    assert refused.value.reason == "MISSING_SCALE"


@pytest.mark.parametrize("value", [None, 0.0, -3.5])
def test_the_codec_keeps_everything(value: float | None) -> None:
    said = Assessment(
        tenant="t",
        name="toxicity",
        value=value,
        label="high",
        explanation="it swears",
        evaluator="EVAL",
        assessment_id="a",
        completion_id="x",
        conversation_id="c",
        turn_id="u",
        user_id="ada",
    )
    assert decode_assessment(encode_assessment(said)) == said
