"""Tenants' own heads on SQLite and on PostgreSQL: from thumbs to what serves, and back out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.feedback.adapters.erasing import FeedbackRemover
from services.feedback.heads.domain import HeadState
from shared.language.splits import is_held_out
from shared.privacy.erasure import Erasure
from tests.contract.state import opened
from tests.unit.feedback import raters
from tests.unit.feedback.house import House

V1 = "heads/dissatisfaction-v1"


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("feedback", database_url) as database:
        made = raters.house_of(database)
        raters.rate(made, raters.reversed_, range(40))
        yield made


def test_a_head_is_fitted_stored_served_superseded_and_listed(house: House) -> None:
    heads = house.parts.heads
    assert raters.refit(house) == "promoted"
    assert house.parts.classifier.head_of("local") == V1
    assert (heads.stand("local").name, heads.stand("local").attempts) == (V1, 0)
    assert raters.refit(house) == "NOTHING_NEW"
    raters.rate(house, raters.honest, range(40), talks=12, batch="d")
    assert raters.refit(house) == "promoted"
    cards, total = heads.page("local", None, 10)
    assert [(one.version, one.state, one.mlflow_version) for one in cards] == [
        (2, HeadState.SERVING, "2"),
        (1, HeadState.FORMER, "1"),
    ]
    assert total == 2
    assert [one.version for one in heads.page("local", 2, 10)[0]] == [1]
    assert house.adds_up()


def test_the_state_is_read_again_by_a_process_that_begins_anew(house: House) -> None:
    raters.refit(house)
    (before,), _ = house.parts.heads.page("local", None, 10)
    house.start()
    (card,), _ = house.parts.heads.page("local", None, 10)
    assert card == before
    assert house.parts.classifier.head_of("local") == V1


def test_sources_and_labels_of_an_erased_user_go(house: House) -> None:
    raters.refit(house)
    user = next(f"u{n}" for n in range(40) if not is_held_out("local", f"u{n}"))
    remover, erasure = FeedbackRemover(house.database), Erasure("e1", "local", user)
    assert remover.survey(erasure).model_versions == [V1]
    for expected in (raters.TALKS, 0):
        with house.database.begin() as transaction:
            assert remover.remove_rows(erasure, transaction)["head_sources"] == expected
    assert len(house.parts.heads.labels("local", 1000)) == 39 * raters.TALKS
