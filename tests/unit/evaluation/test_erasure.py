"""What the evaluation service removes of a user: held-out pairs in requests, answers to their prompts."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.evaluation.adapters.erasing import EvaluationRemover
from services.evaluation.adapters.forgetting import UnfinishedEvaluations
from services.evaluation.adapters.sql_results import SqlAnswers
from services.evaluation.adapters.sql_session import operation_name
from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS
from shared.contracts.messages import encode_message
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.erasure import Erasure
from shared.state import operations
from shared.state.jobs import Postpone
from tests.unit.evaluation.test_service import HELD_OUT, NOW, House

ADA, BEN = HELD_OUT[:2]


def held_out(user: str) -> events.PreferencePair:
    return events.PreferencePair(
        user_id=user,
        conversation_id=f"c-{user}",
        prompt=[encode_message(text_message("user", f"What would {user} like?"))],
        chosen=encode_message(text_message("assistant", "chosen: short")),
        rejected=encode_message(text_message("assistant", "rejected: long")),
    )


@pytest.fixture
def house() -> House:
    made = House()
    made.start(
        pb.EvaluateRequest(
            request_id="r1",
            model_version="assistant-v1",
            served_name="v1",
            suites=["form"],
            held_out_pairs=[held_out(ADA), held_out(BEN)],
        )
    )
    return made


def remover(house: House) -> EvaluationRemover:
    return EvaluationRemover(house.database)


def removed(house: House, erasure: Erasure) -> dict[str, int]:
    with house.database.begin() as transaction:
        return remover(house).remove_rows(erasure, transaction)


def test_pairs_go_out_of_the_request_and_kept_answers_are_forgotten(house: House) -> None:
    house.policy.answers_until_away = 0
    house.worker.run_once()
    (evaluation,) = house.app.page("local", None, 1)
    SqlAnswers(house.database).keep(evaluation.evaluation, "v1", {"a": "To Ada.", "b": "To Ben."})
    SqlAnswers(house.database).keep("another", "v1", {"a": "To others."})
    gone = removed(house, Erasure("e1", "local", ADA))
    assert gone == {"held_out_pairs": 1, "answers": 2}
    with house.database.read() as connection:
        (request,) = connection.execute(sa.select(EVALUATIONS.c.request)).scalars()
        assert connection.execute(sa.select(ANSWERS.c.text)).scalars().all() == ["To others."]
    left = pb.EvaluateRequest.FromString(request).held_out_pairs
    assert [pair.user_id for pair in left] == [BEN]
    assert removed(house, Erasure("e1", "local", ADA)) == {"held_out_pairs": 0, "answers": 0}


def test_pairs_that_quote_the_users_conversations_go_too(house: House) -> None:
    gone = removed(house, Erasure("e1", "local", "nobody", (f"c-{BEN}",)))
    assert gone["held_out_pairs"] == 1
    assert removed(house, Erasure("e1", "another", ADA))["held_out_pairs"] == 0


def test_an_evaluation_under_way_is_waited_for(house: House) -> None:
    with pytest.raises(Postpone):
        remover(house).survey(Erasure("e1", "local", ADA))
    assert remover(house).survey(Erasure("e1", "local", "nobody")).counts == {}
    house.worker.run_once()
    assert remover(house).survey(Erasure("e1", "local", ADA)).counts == {}


def test_an_export_gives_the_pairs(house: House) -> None:
    held = list(remover(house).holdings("local", ADA))
    assert [(kind, pair.user_id) for kind, pair in held] == [("held_out_pair", ADA)]  # type: ignore[union-attr]


def test_an_evaluation_that_cannot_end_goes_with_its_pairs_in_time(house: House) -> None:
    house.policy.answers_until_away = 0
    house.worker.run_once()
    (evaluation,) = house.app.page("local", None, 1)
    SqlAnswers(house.database).keep(evaluation.evaluation, "v1", {"a": "To Ada."})
    policy = RetentionPolicy({"*": Keep(store_days=30)})
    for days, gone in ((29, 0), (31, 1), (60, 0)):
        with house.database.begin() as transaction:
            now = NOW + timedelta(days=days)
            assert UnfinishedEvaluations().forget(transaction, policy, now, 100) == gone
    with house.database.read() as connection:
        assert connection.execute(sa.select(EVALUATIONS.c.request)).scalars().all() == [b""]
        assert connection.execute(sa.select(ANSWERS)).all() == []
    assert not house.worker.run_once()
    operation = operations.get(house.database, operation_name(evaluation.evaluation))
    assert "before its pairs had to be forgotten" in operation.error.message
    assert ("evaluation", "waiting", "UNDER_WAY", 0) in house.database.counts()
