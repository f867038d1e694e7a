"""The served model as a judge of what the heads are not sure of: a shadow until it agrees with people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from typing import Any

import pytest
import sqlalchemy as sa

from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from services.feedback.mining.app.agreement import TrustRules, evidence
from services.feedback.mining.app.unsure import JOB, STAGE, JudgeUnsure, label_of
from services.feedback.mining.domain import KINDS, Compared, JudgementState, Label, Mined, Source
from services.feedback.pairs.domain import PAIRS
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.messages import Message
from shared.language.topics import FEEDBACK_MINED
from shared.language.verdicts import FollowUpKind
from shared.privacy.erasure import Erasure
from shared.state.jobs import Finish, Job
from shared.state.stage import drain
from shared.state.tables import JOBS
from shared.statistics.betting import GRID
from shared.statistics.intervals import wilson
from tests.integration.feedback.test_kill import killed_before_commit, restarted
from tests.unit.feedback import house as houses
from tests.unit.feedback.house import LONG, House

# The keyword classifier of the twin house is not sure of "maybe".
COMPLAINT, PRAISE = "maybe it could be told in fewer words", "maybe that was good"
RULES = {
    "judge_min_follow_ups": 12,
    "judge_min_users": 6,
    "judge_least_agreement": 0.6,
    "judge_trust_error": 0.5,
}


def reads(messages: Sequence[Message]) -> str:
    """A model that can read: the letter of the kind, wherever it stands."""
    text = messages[-1].text
    if "Answer with one letter" not in text:
        return houses.script(list(messages))
    wanted = "and says what to change" if COMPLAINT in text else "praises the answer"
    return next(line[0] for line in text.splitlines() if wanted in line)


def house_of(**settings: Any) -> House:
    made = House(**{"judge_unsure": True, **RULES, **settings})
    made.chat._script = reads
    return made


def talks(house: House, users: range, *, honest: bool = True) -> None:
    """Each complains once and praises once, every other one first, and thumbs both answers."""
    for user in users:
        for said in (COMPLAINT, PRAISE) if user % 2 else (PRAISE, COMPLAINT):
            name = f"c{user}-{said is PRAISE:d}"
            house.chat_with(f"u{user}", name, "what is a river?", LONG, said)
            given = common.ExplicitFeedback(
                feedback_id=f"f-{name}",
                tenant="local",
                completion_id=f"{name}-1",
                thumbs_up=(said is PRAISE) is honest,
            )
            house.give(given)
    house.settle()


def test_votes_become_probabilities_with_a_fifth_of_a_vote_each_beforehand() -> None:
    change, praise = FollowUpKind.REATTEMPT_WITH_FEEDBACK, FollowUpKind.POSITIVE
    label = label_of([change] * 4 + [praise] * 2, "judge/m")
    assert (label.kind, label.abstain_reason, label.head) == (change, "", "judge/m")
    assert label.probabilities[change] == pytest.approx(4.2 / 7)
    assert label.probabilities[praise] == pytest.approx(2.2 / 7)
    assert label.probabilities[FollowUpKind.NONE] == pytest.approx(0.2 / 7)
    assert sum(label.probabilities.values()) == pytest.approx(1.0)
    assert label.dissatisfaction == pytest.approx((4.2 + 0.2) / 7)
    assert label_of([change] * 3 + [praise] * 3, "m").abstain_reason == "NO_MAJORITY"


def test_a_model_that_says_what_stands_first_says_nothing() -> None:
    house = house_of()
    house.chat._script = lambda messages: "A"
    judge = JudgeUnsure(house.chat, house.parts.requests, votes=3)
    unsure = Label(FollowUpKind.NONE, {}, 0.5, "LOW_CONFIDENCE")
    mined = Mined("f", "local", "ada", "c", Source.FOLLOW_UP, unsure, houses.NOW)
    label = judge.judge(mined)
    assert (KINDS[0], KINDS[-1]) == (FollowUpKind.NEW_REQUEST, FollowUpKind.NONE)
    assert label.probabilities["new_request"] == label.probabilities["none"]
    assert label.abstain_reason == "NO_MAJORITY"


def compared(right: int, wrong: int, bad: int, per_user: int = 1) -> list[Compared]:
    """So many of which the judge is right and wrong, evenly mixed, as is what was said: `bad` of them."""
    total, found = right + wrong, []
    for number in range(total):
        said = (number + 1) * bad // total > number * bad // total
        is_right = (number + 1) * right // total > number * right // total
        found.append(Compared(f"u{number // per_user}", said is is_right, said))
    return found


RULES_OF_100 = TrustRules(min_follow_ups=100, min_users=20, least=0.75)


def test_agreement_by_hand() -> None:
    found = RULES_OF_100.agreement(compared(95, 5, bad=50))
    assert (found.rate.value, found.rate.count, found.rate.groups) == (0.95, 100, 100)
    assert (found.rate.low, found.rate.high) == wilson(95, 100)
    assert (found.commonest, found.trusted) == (0.5, True)
    assert not RULES_OF_100.agreement(compared(94, 5, bad=50)).trusted  # one follow-up too few
    assert not RULES_OF_100.agreement(compared(77, 23, bad=50)).trusted
    # The interval is above 0.75, but it is one for a single look.
    found = RULES_OF_100.agreement(compared(85, 15, bad=50))
    assert (round(found.rate.low, 3), found.trusted) == (0.767, False)
    # Of 100 of which 90 say the same, that alone would agree nearly as often.
    assert not RULES_OF_100.agreement(compared(95, 5, bad=90)).trusted
    nothing = RULES_OF_100.agreement([])
    assert (nothing.rate.count, nothing.rate.low, nothing.rate.high) == (0, 0.0, 1.0)
    assert not nothing.trusted


def test_evidence_by_hand() -> None:
    """A judge that is right twice, against three quarters: each share of the safe stake wins a third of it."""
    ada, ben = Compared("ada", True, True), Compared("ben", False, False)
    above, surer = evidence([ada, ben], 0.75)
    assert above == pytest.approx(log(sum((1 + share / 3) ** 2 for share in GRID) / len(GRID)))
    # Before anybody the commoner thing is praise, which is wrong of ada; then complaint, wrong of ben.
    assert surer == pytest.approx(log(sum((1 + share) ** 2 for share in GRID) / len(GRID)))
    assert evidence([ada, ben, ada, ada], 0.75) == (above, surer)  # one value a user


def test_few_of_one_user_are_shown_and_the_interval_is_by_user() -> None:
    rules = TrustRules(min_follow_ups=1, min_users=1, least=0.0, most_per_user=2)
    by_ada = [Compared("ada", True, True)] * 2 + [Compared("ada", True, False)] * 8
    found = rules.agreement([*by_ada, Compared("ben", False, True)])
    assert (found.rate.count, found.rate.groups) == (3, 2)
    assert found.rate.value == pytest.approx(2 / 3)
    assert found.rate.method == "wilson widened to bootstrap-by-user"
    assert (found.rate.low, found.rate.high) == (0.0, 1.0)


def test_off_by_default_nobody_is_asked() -> None:
    house = House()
    talks(house, range(3))
    assert house.counts(STAGE) == {}
    assert house.parts.judgements.page("local", None, 9).total == 0


def test_what_it_says_is_a_shadow_at_first() -> None:
    house = house_of()
    talks(house, range(5))
    page = house.parts.judgements.page("local", None, 99)
    assert page.total == 10
    assert {one.state for one in page.items} == {JudgementState.SHADOW}
    assert {one.label.kind for one in page.items} == {
        FollowUpKind.REATTEMPT_WITH_FEEDBACK,
        FollowUpKind.POSITIVE,
    }
    assert house.counts(STAGE) == {("taken", ""): 10, ("made", "shadow"): 10}
    listed = house.parts.feedback.page("local", (), None, 99)
    assert {one.source.value for one in listed.items} == {"follow_up", "explicit"}
    assert all(one.label.abstained for one in listed.items if one.source is Source.FOLLOW_UP)
    assert ("taken", "") not in house.counts(PAIRS)  # thumbs without words ask for no rewrite
    found = house.parts.trust.agreement("local")
    assert (found.rate.value, found.rate.count, found.rate.groups, found.trusted) == (
        1.0,
        10,
        5,
        False,
    )


def test_once_it_agrees_with_people_its_labels_count() -> None:
    house = house_of()
    talks(house, range(6))
    assert house.parts.trust.agreement("local").trusted
    house.chat_with("u0", "later", "what is a lake?", LONG, COMPLAINT)
    house.settle()
    (newest, *_) = house.parts.judgements.page("local", None, 1).items
    assert newest.state is JudgementState.COUNTED
    listed = house.parts.feedback.page("local", (), None, 99).items
    (judged,) = [one for one in listed if one.source.value == "judge"]
    assert (judged.conversation_id, judged.follow_up) == ("later", COMPLAINT)
    assert (judged.label.kind, judged.label.head) == (
        FollowUpKind.REATTEMPT_WITH_FEEDBACK,
        "judge/scripted",
    )
    assert judged.inherits_from == newest.feedback_id
    pairs = house.parts.pairs.page("local", (), None, 9).items
    assert [one.pair.conversation_id for one in pairs] == ["later"]
    assert house.parts.personas.user("local", "u0").complaints == 1
    # It is not published: neither drift nor a rollout counts it.
    published = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert {one.source for one in published} == {
        events.FEEDBACK_SOURCE_FOLLOW_UP,
        events.FEEDBACK_SOURCE_EXPLICIT,
    }
    assert house.counts(STAGE)["made", "counted"] == 1
    assert house.adds_up()


def test_a_judge_that_people_contradict_stays_a_shadow() -> None:
    house = house_of()
    talks(house, range(20), honest=False)
    found = house.parts.trust.agreement("local")
    assert (found.rate.value, found.rate.count, found.trusted) == (0.0, 40, False)
    assert ("made", "counted") not in house.counts(STAGE)


def test_only_the_band_of_abstentions_is_asked_about() -> None:
    house = house_of()
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please", LONG, "thanks")
    house.settle()
    assert house.counts(STAGE) == {}


def test_another_models_agreement_is_measured_anew() -> None:
    house = house_of()
    talks(house, range(6))
    assert house.parts.judgements.compared("local", "scripted", 99)
    assert house.parts.judgements.compared("local", "another", 99) == []
    assert house.parts.judgements.compared("elsewhere", "scripted", 99) == []


def test_it_waits_for_a_model_that_is_away_and_survives_a_kill() -> None:
    house = house_of()
    house.chat_with("ada", "c1", "what is a river?", LONG, COMPLAINT)
    drain(house.parts.turns)
    house.parts.judge.once()
    worker = house.parts.workers[JOB]
    house.chat.away = True
    assert worker.run_once()
    assert house.counts(STAGE) == {("taken", ""): 1, ("waiting", "TO_ASK"): 1}
    house.chat.away = False
    with house.database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))
    killed_before_commit(house, worker.run_once, after=1)
    restarted(house).settle()
    assert house.counts(STAGE) == {("taken", ""): 1, ("made", "shadow"): 1}
    assert house.parts.judgements.page("local", None, 9).total == 1


def test_what_is_said_of_an_erased_user_goes_and_nothing_is_kept_that_is_under_way() -> None:
    house = house_of()
    talks(house, range(3))
    kinds = [kind for kind, _ in SqlHoldings(house.database)("local", "u1")]
    assert kinds.count("judgement") == 2
    house.chat_with("u1", "later", "what is a lake?", LONG, COMPLAINT)
    drain(house.parts.turns)
    house.parts.judge.once()
    worker = house.parts.workers[JOB]

    def perform(job: Job) -> Finish:
        finish = worker.perform(job)
        with house.database.begin() as transaction:
            remover = FeedbackRemover(house.database)
            gone = remover.remove_rows(Erasure("e1", "local", "u1"), transaction)
        assert gone["judgements"] == 2
        return finish

    assert replace(worker, perform=perform).run_once()
    house.settle()
    users = {one.user_id for one in house.parts.judgements.page("local", None, 99).items}
    assert users == {"u0", "u2"}
    assert house.counts(STAGE)["dropped", "ERASED"] == 1
    assert list(SqlHoldings(house.database)("local", "u1")) == []
    assert house.adds_up()


def test_a_follow_up_that_is_gone_is_dropped_with_a_reason() -> None:
    house = house_of()
    house.chat_with("ada", "c1", "what is a river?", LONG, COMPLAINT)
    drain(house.parts.turns)
    house.parts.judge.once()
    with house.database.read() as connection:
        (payload,) = connection.execute(
            sa.select(JOBS.c.payload).where(JOBS.c.kind == JOB)
        ).scalars()
    assert "feedback_id" in payload
    with house.database.begin() as transaction:
        job = Job("j", JOB, {}, 3)
        house.parts.unsure.abandon(job, RuntimeError("no"), transaction)
        transaction.connection.execute(JOBS.delete().where(JOBS.c.kind == JOB))
    assert house.counts(STAGE) == {("taken", ""): 1, ("dropped", "FAILED"): 1}


async def test_judgements_are_listed_with_the_agreement_and_its_interval() -> None:
    house = house_of()
    talks(house, range(4))
    server = RpcServer("feedback", [house.parts.mount()])
    channel = aio_channel(f"127.0.0.1:{await server.start()}")
    stub, local = pb_grpc.FeedbackServiceStub(channel), metadata("local")
    first = await stub.ListJudgements(pb.ListJudgementsRequest(page_size=5), metadata=local)
    again = pb.ListJudgementsRequest(page_size=5, page_token=first.next_page_token)
    second = await stub.ListJudgements(again, metadata=local)
    nobody = await stub.ListJudgements(pb.ListJudgementsRequest(), metadata=metadata("other"))
    await channel.close()
    await server.drain()
    assert (len(first.judgements), len(second.judgements), first.total_size) == (5, 3, 8)
    assert len({one.feedback_id for one in (*first.judgements, *second.judgements)}) == 8
    assert (first.agreement.value, first.agreement.count, first.agreement.users) == (1.0, 8, 4)
    assert (first.agreement.low, first.agreement.high) == (wilson(8, 8)[0], 1.0)
    assert first.agreement.method == "wilson widened to bootstrap-by-user"
    assert (first.commonest, first.trusted) == (0.5, False)
    (one, *_) = first.judgements
    assert one.state == pb.JUDGEMENT_STATE_SHADOW
    assert (one.model, one.label.head) == ("scripted", "judge/scripted")
    assert not nobody.HasField("agreement")
