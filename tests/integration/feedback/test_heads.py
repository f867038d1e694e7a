"""Tenants' own heads in the whole service: from thumbs to what judges the next follow-up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.feedback.heads.app.refit import STAGE
from services.feedback.heads.domain import HeadState
from services.feedback.mining.app.classifier import Exchange
from services.feedback.settings import FeedbackSettings
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.splits import is_held_out
from shared.language.topics import FEEDBACK_MINED
from tests.unit.feedback import raters
from tests.unit.feedback.house import House
from tests.unit.feedback.raters import BAD, GOOD, MODEL, TALKS, V1, honest, noisy


@pytest.fixture
def turned() -> House:
    return raters.turned_house()


def dissatisfaction(house: House, text: str, tenant: str = "local") -> tuple[float, str]:
    exchange = Exchange("What is number 1?", "It is 7.", text)
    (label,) = house.parts.classifier.judge([exchange], [tenant]).labels
    return label.dissatisfaction, label.head


def test_thumbs_that_say_the_reverse_turn_the_head_over(turned: House) -> None:
    shipped = turned.parts.classifier.shipped
    assert dissatisfaction(turned, BAD)[0] > 0.5 > dissatisfaction(turned, GOOD)[0]
    assert {one.head for one in raters.mined(turned)} == {shipped}
    assert shipped.startswith("shipped-")
    assert raters.refit(turned) == "promoted"
    assert dissatisfaction(turned, BAD)[0] < 0.5 < dissatisfaction(turned, GOOD)[0]
    assert dissatisfaction(turned, BAD)[1] == V1
    # Another tenant's follow-ups in the same batch are judged by the shipped head.
    assert dissatisfaction(turned, BAD, "other")[0] > 0.5
    pair = [Exchange("a", "b", BAD)] * 2
    own, others = turned.parts.classifier.judge(pair, ["local", "other"]).labels
    assert (own.head, others.head) == (V1, shipped)
    assert own.dissatisfaction < 0.5 < others.dissatisfaction
    assert turned.counts(STAGE) == {("taken", ""): 1, ("made", "promoted"): 1}
    assert turned.adds_up()


def test_what_is_mined_next_carries_the_head(turned: House) -> None:
    raters.refit(turned)
    turned.chat_with("u0", "later", "What now?", "It is 8.", GOOD)
    turned.settle()
    newest = next(one for one in raters.mined(turned) if one.conversation_id == "later")
    assert newest.head == V1
    assert newest.dissatisfaction > 0.5
    kept = turned.parts.feedback.mined(newest.feedback_id)
    assert kept is not None and kept.label.head == V1
    (said,) = [one for one in turned.published(FEEDBACK_MINED, events.FeedbackMined)
               if one.source == events.FEEDBACK_SOURCE_EXPLICIT][:1]  # fmt: skip
    assert said.head == ""


def test_the_card_has_what_the_gate_saw(turned: House) -> None:
    raters.refit(turned)
    (card,), total = turned.parts.heads.page("local", None, 10)
    held_out = [n for n in range(40) if is_held_out("local", f"u{n}")]
    assert (total, card.state, card.reason, card.attempt) == (1, HeadState.SERVING, "", 1)
    assert (card.users, card.figures.users) == (40 - len(held_out), len(held_out))
    assert (card.labels, card.figures.labels) == (TALKS * card.users, TALKS * len(held_out))
    assert card.against == card.shipped == turned.parts.classifier.shipped
    assert card.figures.log_loss_gain.low > 0
    assert card.figures.auroc_before.value == 0.0
    assert card.figures.auroc_after.value == 1.0
    assert card.figures.log_loss_before > 1.0
    assert card.figures.log_loss_after < 0.3


def test_noise_keeps_the_old_head_and_says_why() -> None:
    house = raters.house_of()
    raters.rate(house, noisy, range(60))
    assert raters.refit(house) in ("CAN_NOT_TELL", "NOT_BETTER")
    (card,), _ = house.parts.heads.page("local", None, 10)
    assert card.state is HeadState.REFUSED
    assert dissatisfaction(house, BAD)[1] == house.parts.classifier.shipped
    assert house.tracker.serving == {MODEL: ""}
    (run,) = house.tracker.runs[MODEL]
    assert run.tags == {"version": "1", "verdict": card.reason}
    # Nothing new: nothing is fitted, however often it is looked at.
    assert raters.refit(house) == "NOTHING_NEW"
    assert house.parts.heads.page("local", None, 10)[1] == 1
    raters.rate(house, noisy, range(60, 70))
    raters.refit(house)
    newest = house.parts.heads.page("local", None, 10)[0][0]
    assert (newest.version, newest.attempt) == (2, 2)
    assert newest.figures.confidence == pytest.approx(1 - 0.05 / 6)
    assert house.adds_up()


def test_a_second_head_is_held_against_the_first(turned: House) -> None:
    raters.refit(turned)
    # Noise of users whom the gate does not see: the new head is less sure of the others.
    raters.rate(turned, noisy, raters.not_held_out(range(40, 60)))
    raters.refit(turned)
    newest, first = turned.parts.heads.page("local", None, 10)[0]
    assert (newest.against, newest.attempt) == (V1, 1)
    assert (newest.state, first.state) == (HeadState.REFUSED, HeadState.SERVING)
    assert newest.reason == "NOT_BETTER"
    assert turned.tracker.serving == {MODEL: "1"}
    # The users change their minds: a head of all that they said comes, and the former stands down.
    raters.rate(turned, honest, range(50), talks=4, batch="d")
    raters.refit(turned)
    third, second, first = turned.parts.heads.page("local", None, 10)[0]
    assert [one.state.value for one in (third, second, first)] == ["serving", "refused", "former"]
    assert (first.reason, second.reason) == ("SUPERSEDED", "NOT_BETTER")
    assert (third.against, third.attempt) == (V1, 2)
    assert dissatisfaction(turned, BAD)[0] > 0.5
    assert turned.tracker.serving == {MODEL: "3"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"heads_min_labels": 1000}, "TOO_FEW_LABELS"),
        ({"heads_min_users": 39}, "TOO_FEW_USERS"),
        ({"heads_min_held_out_users": 30}, "TOO_FEW_HELD_OUT_USERS"),
        ({"heads_most_per_user": 1}, "TOO_FEW_LABELS"),
    ],
)
def test_too_little_is_fitted_on_by_nobody(settings: dict[str, Any], reason: str) -> None:
    house = raters.turned_house(**settings)
    assert raters.refit(house) == reason
    assert house.parts.heads.page("local", None, 10) == ([], 0)
    assert house.counts(STAGE) == {("taken", ""): 1, ("abstained", reason): 1}


def test_thumbs_that_all_say_the_same_fit_nothing() -> None:
    house = raters.house_of()
    raters.rate(house, lambda number, complained: True, range(40))
    assert raters.refit(house) == "ONE_SIDED"


def test_what_counts_as_a_label() -> None:
    house = raters.house_of()
    house.chat_with("ada", "c1", "What?", "This.", BAD, "That.", "...", "Then this.", "thanks")

    def give(number: int, index: int, user: str = "", **value: object) -> None:
        house.give(
            common.ExplicitFeedback(
                feedback_id=f"f{number}",
                tenant="local",
                user_id=user,
                completion_id=f"c1-{index}",
                **value,  # type: ignore[arg-type]
            )
        )

    give(1, 1, rating=common.Rating(value=4, min=1, max=5))
    give(2, 1, thumbs_up=False)
    give(3, 1, user="reviewer", thumbs_up=True)  # another's opinion
    give(4, 3, thumbs_up=True)  # the follow-up says nothing
    give(5, 5, comment="hm")  # of no degree
    whole = common.ExplicitFeedback(
        feedback_id="f6", tenant="local", conversation_id="c1", thumbs_up=True
    )
    house.give(whole)
    house.settle()
    (label,) = house.parts.heads.labels("local", 100)
    assert (label.user_id, label.conversation_id) == ("ada", "c1")
    assert label.bad == pytest.approx((0.25 + 1.0) / 2)
    assert label.exchange == Exchange("What?", "This.", BAD, (("user", "What?"),))
    again = common.ExplicitFeedback(
        feedback_id="f7",
        tenant="local",
        completion_id="c1-1",
        thumbs_up=True,
        mode=common.FEEDBACK_MODE_REPLACE,
    )
    again.create_time.GetCurrentTime()
    house.give(again)
    house.settle()
    (label,) = house.parts.heads.labels("local", 100)
    assert label.bad == pytest.approx((0.25 + 0.0) / 2)


def test_the_schedule_asks_once_for_each_of_its_times(turned: House) -> None:
    assert turned.parts.head_schedule.once() == 0  # its minute has not come
    assert (raters.look(turned), raters.look(turned)) == (1, 0)
    assert raters.fits(turned).run_once()
    assert raters.look(turned) == 1
    never = replace(turned.parts.head_schedule, line="")
    assert never.once() == 0
    assert turned.adds_up()


def test_off_means_fitted_listed_and_not_used() -> None:
    house = raters.turned_house(heads_serve=False)
    assert raters.refit(house) == "promoted"
    assert dissatisfaction(house, BAD)[1] == house.parts.classifier.shipped


async def test_heads_are_listed_by_page_with_what_serves_and_the_last_look(turned: House) -> None:
    raters.refit(turned)
    raters.rate(turned, noisy, raters.not_held_out(range(40, 60)))
    raters.refit(turned)
    server = RpcServer("feedback", [turned.parts.mount()])
    channel = aio_channel(f"127.0.0.1:{await server.start()}")
    stub, local = pb_grpc.FeedbackServiceStub(channel), metadata("local")
    first = await stub.ListHeads(pb.ListHeadsRequest(page_size=1), metadata=local)
    again = pb.ListHeadsRequest(page_size=1, page_token=first.next_page_token)
    second = await stub.ListHeads(again, metadata=local)
    nobody = await stub.ListHeads(pb.ListHeadsRequest(), metadata=metadata("other"))
    asked = [pb.FollowUp(request="What?", answer="It is 7.", follow_up=BAD)]
    classified = await stub.Classify(pb.ClassifyRequest(follow_ups=asked), metadata=local)
    await channel.close()
    await server.drain()
    (refused,), (serving,) = first.heads, second.heads
    assert (refused.name, refused.reason) == ("heads/dissatisfaction-v2", "NOT_BETTER")
    assert (refused.state, serving.state) == (pb.HEAD_STATE_REFUSED, pb.HEAD_STATE_SERVING)
    assert (first.total_size, second.next_page_token, first.serving) == (2, "", V1)
    assert first.look.reason == "NOT_BETTER"
    assert first.look.next_time.seconds - first.look.look_time.seconds <= 60
    card = turned.parts.heads.load("local", 1)[0]
    assert serving.log_loss_gain.low == card.figures.log_loss_gain.low
    assert serving.log_loss_gain.users == card.figures.users
    assert serving.log_loss_gain.method == "bootstrap-by-user"
    assert (list(nobody.heads), nobody.HasField("look")) == ([], False)
    assert nobody.serving == turned.parts.classifier.shipped
    (label,) = classified.labels
    assert label.head == V1 and label.dissatisfaction < 0.5


def test_a_wrong_cron_line_stops_the_start() -> None:
    with pytest.raises(ValueError, match="'at dawn' is not a cron expression"):
        FeedbackSettings(heads_schedule="at dawn")
