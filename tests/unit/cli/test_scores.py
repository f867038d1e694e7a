"""Scores in exports: people's opinions on a known scale, and what evaluators measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.cli.domain.formats import Reader
from services.cli.domain.records import Item
from services.cli.domain.scores import read_scores
from shared.language.errors import InvalidArgument
from shared.language.opinions import Category, Demonstration, Rating
from tests.unit.cli.twins import TwinTarget


def read(*given: str, **fields: Any) -> Item:
    return Reader("auto", read_scores(given)).read({"observationId": "o1", **fields})


def opinion(*given: str, **fields: Any) -> Any:
    item = read(*given, **fields)
    assert item.assessments == ()
    return item.feedback[0].value


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        # One of five stars is the worst, and two of five as much better as five of five than four.
        ({"name": "stars", "value": 1}, Rating(1, 1, 5)),
        ({"name": "star-rating", "value": 2, "source": "API"}, Rating(2, 1, 5)),
        ({"name": "thumbs", "value": 1}, Rating(1, 0, 1)),
        ({"name": "nps", "value": 10, "source": "ANNOTATION"}, Rating(10, 0, 10)),
        (
            {"name": "tone", "value": 1, "source": "ANNOTATION", "minValue": 1, "maxValue": 7},
            Rating(1, 1, 7),
        ),
        ({"name": "tone", "value": 3, "source": "ANNOTATION", "min": 1, "max": 7}, Rating(3, 1, 7)),
        ({"name": "userFeedback", "value": 1, "dataType": "BOOLEAN"}, True),
        ({"name": "user_feedback", "stringValue": "False", "dataType": "BOOLEAN"}, False),
        (
            {
                "name": "tone",
                "stringValue": "off topic",
                "dataType": "CATEGORICAL",
                "source": "human",
            },
            Category("off topic"),
        ),
        ({"name": "user-feedback", "comment": "why?"}, None),
        # As its SDK sends them.
        (
            {"name": "tone", "value": 2, "queueId": "q", "metadata": {"min": 1, "max": 3}},
            Rating(2, 1, 3),
        ),
        ({"name": "x", "value": True, "source": "API", "metadata": {"source": "human"}}, True),
        ({"name": "output", "value": "Rex", "dataType": "CORRECTION"}, Demonstration("Rex")),
    ],
)
def test_what_people_said(fields: dict[str, Any], value: Any) -> None:
    assert opinion(**fields) == value


@pytest.mark.parametrize(
    ("fields", "value", "label"),
    [
        ({"name": "toxicity", "value": 0.97, "source": "EVAL"}, 0.97, ""),
        ({"name": "hallucination", "value": True, "dataType": "BOOLEAN", "source": "EVAL"}, 1, ""),
        ({"name": "toxicity", "value": 0.97, "source": "API"}, 0.97, ""),
        ({"name": "user_feedback", "value": 1, "source": "EVAL"}, 1, ""),
        ({"name": "hallucination", "value": True, "source": "ANNOTATION"}, 1, ""),
        ({"name": "tone", "value": "rude", "source": "EVAL", "comment": "shouts"}, None, "rude"),
    ],
)
def test_what_evaluators_measure(fields: dict[str, Any], value: Any, label: str) -> None:
    item = read(**fields)
    assert item.feedback == ()
    (found,) = item.assessments
    assert (found.name, found.value, found.label) == (fields["name"], value, label)
    assert (found.completion_id, found.evaluator) == ("o1", fields["source"])
    assert found.explanation == fields.get("comment", "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "quality", "value": 1, "source": "ANNOTATION"}, "MISSING_SCALE"),
        ({"name": "user_feedback", "value": 1}, "MISSING_SCALE"),
        ({"name": "stars", "value": 6}, "MISSING_SCALE"),
        ({"name": "quality", "value": 1, "source": "API"}, "UNKNOWN_SOURCE"),
        ({"name": "resolved", "value": True, "source": "API"}, "UNKNOWN_SOURCE"),
    ],
)
def test_what_may_be_good_or_bad_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--score {fields['name']}=MIN:MAX") as refused:
        read(**fields)
    assert refused.value.reason == reason


def test_a_scale_is_given() -> None:
    assert opinion("quality=1:10", name="quality", value=1, source="API") == Rating(1, 1, 10)
    assert opinion("stars=0:5", name="stars", value=1) == Rating(1, 0, 5)
    assert opinion("a=b=-1:1.5", name="a=b", value=-1) == Rating(-1, -1, 1.5)
    assert opinion("resolved=people", name="resolved", value=True, source="API") is True
    item = read("quality=evaluator", name="quality", value=1, source="API")
    assert (item.assessments[0].value, item.feedback) == (1, ())
    # A scale makes no person of an evaluator.
    assert read("quality=1:5", name="quality", value=3, source="EVAL").feedback == ()
    with pytest.raises(InvalidArgument) as refused:
        opinion("quality=1:5", name="quality", value=87)
    assert (refused.value.reason, refused.value.field) == ("RATING_OUT_OF_RANGE", "value")


@pytest.mark.parametrize("wrong", ["quality", "quality=5:1", "=1:5", "quality=1-5", "q=judge"])
def test_a_scale_that_is_none_says_how_one_is_written(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match="NAME=MIN:MAX"):
        read_scores([wrong])


def test_the_option_reaches_the_reader(trimtab: Any, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(
        '{"traceId": "t", "name": "quality", "value": 2, "source": "API"}\n'
        '{"traceId": "t", "name": "toxicity", "value": 0.9, "source": "EVAL"}\n'
    )
    target = TwinTarget()
    ran = trimtab("import", "s.jsonl", "--score", "quality=1:5", "--json", target=target)
    assert (ran.code, ran.json["feedback"], ran.json["assessments"]) == (0, 1, 1)
    assert target.items[0].feedback[0].value == Rating(2, 1, 5)
    assert trimtab("import", "s.jsonl", "--score", "quality").code == 2
