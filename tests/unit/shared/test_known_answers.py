"""Known answers: distances by hand, and what is no record."""

from __future__ import annotations

import json

import pytest

from shared.language.known_answers import (
    KnownAnswer,
    KnownAnswers,
    Serves,
    dump,
    load,
)

TOLERANCE = 0.15
KNOWN = KnownAnswers(
    (
        KnownAnswer((1, 2), (3, 4), (-0.5, -0.25), (-2.5, -1.25)),
        KnownAnswer((5,), (6,), (-1.0,), (-4.0,)),
    )
)


def test_the_distance_is_the_mean_over_all_tokens() -> None:
    """By hand: 2, 1 and 3 nats of three tokens; 0.1, 0.05 and 0.06."""
    assert KNOWN.apart == pytest.approx(2.0)
    found = KNOWN.compared([[-0.6, -0.3], [-1.06]], TOLERANCE)
    assert found.from_trained == pytest.approx(0.07)
    assert found.from_base == pytest.approx((1.9 + 0.95 + 2.94) / 3)
    assert found.serves == Serves.AS_TRAINED


def test_what_is_near_the_base_model_is_the_base_model() -> None:
    assert KNOWN.compared([[-2.5, -1.3], [-4.0]], TOLERANCE).serves == Serves.BASE_MODEL
    assert KNOWN.compared([[-9.0, -9.0], [-9.0]], TOLERANCE).serves == Serves.SOMETHING_ELSE
    just = TOLERANCE * 3
    assert (
        KNOWN.compared([[-0.5, -0.25], [-1.0 - just + 1e-9]], TOLERANCE).serves == Serves.AS_TRAINED
    )
    assert (
        KNOWN.compared([[-0.5, -0.25], [-1.0 - just - 1e-9]], TOLERANCE).serves
        == Serves.SOMETHING_ELSE
    )


def test_it_is_read_back_as_it_was_written() -> None:
    assert load(dump(KNOWN)) == KNOWN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2, not 1"),
        ({"answers": []}, "no answer in it"),
        ({"answers": [{"prompt": [1]}]}, "these are no known answers"),
        ({"answers": 7}, "these are no known answers"),
        (
            {"answers": [{"prompt": [1], "answer": [2], "log_probs": [], "of_base": [-1]}]},
            "a log-probability for each",
        ),
        (
            {"answers": [{"prompt": [1], "answer": [2], "log_probs": ["nan"], "of_base": [-1]}]},
            "not finite",
        ),
        (
            {"answers": [{"prompt": ["x"], "answer": [2], "log_probs": [-1], "of_base": [-1]}]},
            "invalid literal",
        ),
    ],
)
def test_what_is_no_record_says_why(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(json.dumps({**json.loads(dump(KNOWN)), **change}))
    with pytest.raises(ValueError, match="Expecting value"):
        load("not JSON")
