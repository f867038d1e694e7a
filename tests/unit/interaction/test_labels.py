"""A label says of the user what shared/language/verdicts.py says of its kind, whatever the probability is."""

from typing import Any

import pytest

from services.interaction.turns.codec import decode_label
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.verdicts import FollowUpKind, dissatisfaction_of


def names(kind: FollowUpKind, source: str, dissatisfaction: float, **more: Any) -> list[str]:
    mined = events_pb2.FeedbackMined(
        feedback_id="f",
        tenant="local",
        source=events_pb2.FeedbackSource.Value(f"FEEDBACK_SOURCE_{source}"),
        kind=events_pb2.FollowUpKind.Value(f"FOLLOW_UP_KIND_{kind.name}"),
        dissatisfaction=dissatisfaction,
        **more,
    )
    return list(decode_label(mined.SerializeToString()).names)


@pytest.mark.parametrize("kind", FollowUpKind)
@pytest.mark.parametrize("source", ["FOLLOW_UP", "EXPLICIT", "HINDSIGHT", "JUDGE"])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_dissatisfied_by_the_one_definition(
    kind: FollowUpKind, source: str, probability: float
) -> None:
    said = names(kind, source, probability)
    assert kind in said
    assert ("dissatisfied" in said) == (dissatisfaction_of(kind) == 1.0)
    assert ("satisfied" in said) == (kind is FollowUpKind.POSITIVE)


def test_the_middle_of_a_scale_says_nothing() -> None:
    assert names(FollowUpKind.NONE, "EXPLICIT", 0.5) == ["explicit", "none"]


def test_an_abstention_says_nothing_of_the_user() -> None:
    abstained = names(FollowUpKind.REATTEMPT_WITH_FEEDBACK, "HINDSIGHT", 1.0, abstained=True)
    assert abstained == ["hindsight"]
