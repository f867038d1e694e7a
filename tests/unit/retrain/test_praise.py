"""Which praised answers a training keeps, and what of the feedback is praise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.retrain.adapters.sql_session import SqlSession
from services.retrain.codec import decode_praise, encode_snapshot
from services.retrain.domain.datasheet import describe
from services.retrain.domain.praise import to_keep
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.snapshots import digest_of
from services.retrain.stages import praise_stage
from shared.contracts.messages import write_message, write_time
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.messages import text_message
from shared.language.pairs import Pair
from shared.language.topics import FEEDBACK_MINED
from shared.state.stage import drain
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, START, TRAINED, many, pair, praised

CAPS = Caps(praised_answers=4)


def kept(answers: list[Pair], pairs: list[Pair] | None = None, caps: Caps = CAPS) -> list[str]:
    return [one.pair_id for one in to_keep(answers, pairs or [], {}, caps)]


def test_the_newest_are_kept_two_of_a_user_and_none_of_held_out_ones():
    answers = [praised(n, TRAINED[0]) for n in range(3)]
    answers += [praised(10, HELD_OUT[0]), praised(5, TRAINED[1]), praised(6, TRAINED[2])]
    assert kept(answers) == ["p001", "p002", "p005", "p006"]
    assert kept(answers, caps=replace(CAPS, praised_answers=2)) == ["p005", "p006"]
    assert kept([]) == []


def test_what_is_praised_in_the_same_words_is_kept_once():
    same = {
        "prompt": (text_message("user", "And now?"),),
        "chosen": text_message("assistant", "So."),
    }
    answers = [praised(n, TRAINED[n], **same) for n in range(3)]
    assert kept(answers) == ["p002"]


def test_whoever_complained_since_wants_something_else_now():
    answers = [praised(n, TRAINED[n]) for n in range(3)]
    later = pair(50, TRAINED[0], create_time=START + timedelta(seconds=1))
    before = pair(51, TRAINED[1], create_time=START)
    assert kept(answers, [later, before]) == ["p001", "p002"]


def test_it_may_be_as_old_as_a_pair_may_be():
    answers = [praised(n, TRAINED[n]) for n in range(3)]
    newest = pair(90, TRAINED[9], create_time=START + timedelta(days=7, seconds=1))
    assert kept(answers, [newest], replace(CAPS, max_age_days=7.0)) == ["p001", "p002"]


def test_each_group_of_people_has_as_many_as_another():
    many_, few = {"groups": ("wants.length=longer",)}, {"groups": ("group-2", "reader=phone")}
    answers = [praised(n, TRAINED[n], **many_) for n in range(20, 30)]
    answers += [praised(n, TRAINED[n], **few) for n in range(3)]
    found = to_keep(answers, [], {}, CAPS)
    by_group = [one.groups[0] for one in found]
    assert sorted(by_group).count("group-2") == 2


def test_each_is_told_its_users_newest_persona():
    answers = [praised(0, TRAINED[0], persona="old"), praised(1, TRAINED[1], persona="kept")]
    found = to_keep(answers, [], {f"local/{TRAINED[0]}": "Likes detail."}, CAPS)
    assert [one.persona for one in found] == ["Likes detail.", "kept"]
    deleted = to_keep(answers, [], {f"local/{TRAINED[0]}": ""}, CAPS)
    assert deleted[0].persona == ""


def test_a_snapshot_without_praise_has_the_digest_it_had():
    plain = select(many(4, 2), {}, CAPS)
    with_praise = replace(plain, praised=(praised(1, TRAINED[0]), praised(2, TRAINED[0])))
    assert list(plain.parts) == ["train", "held_out"]
    assert digest_of(plain) == "a0221b82290c2e3d065b8e323c18aa1fa08dfa3002595d7e1c5b17fc69ea2956"
    assert digest_of(with_praise) != digest_of(plain)
    sheet = encode_snapshot(describe(with_praise, ""))
    assert (sheet.praised_answers, sheet.praising_users) == (2, 1)


def mined(number: int, user: str, **changes: object) -> events_pb2.FeedbackMined:
    said = events_pb2.FeedbackMined(
        feedback_id=f"f{number}",
        tenant="local",
        user_id=user,
        conversation_id=f"c{number}",
        model_version="assistant-v0",
        source=events_pb2.FEEDBACK_SOURCE_FOLLOW_UP,
        kind=events_pb2.FOLLOW_UP_KIND_POSITIVE,
        satisfaction=0.9,
        groups=["group-1"],
    )
    write_message(text_message("user", f"Question {number}?"), said.context.add())
    write_message(text_message("assistant", f"Answer {number}."), said.answer)
    write_time(START + timedelta(seconds=number), said.create_time)
    for name, value in changes.items():
        if value is None:
            said.ClearField(name)  # type: ignore[arg-type]
        elif name == "replaces":
            said.replaces.extend(value)  # type: ignore[arg-type]
        else:
            setattr(said, name, value)
    return said


def test_praise_is_a_pair_without_a_rejected_answer():
    found, why = decode_praise(mined(1, TRAINED[0]))
    assert found is not None
    assert why == ""
    assert (found.pair_id, found.user_id, found.policy) == ("f1", TRAINED[0], "assistant")
    assert (found.request, found.chosen.text, found.rejected.text) == (
        "Question 1?",
        "Answer 1.",
        "",
    )
    assert (found.groups, found.confidence, found.source) == (("group-1",), 0.9, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": events_pb2.FOLLOW_UP_KIND_NEW_REQUEST}, "NO_PRAISE"),
        ({"abstained": True}, "NO_PRAISE"),
        ({"source": events_pb2.FEEDBACK_SOURCE_JUDGE}, "NOT_SAID"),
        ({"source": events_pb2.FEEDBACK_SOURCE_HINDSIGHT}, "NOT_SAID"),
        ({"context": None}, "NO_REQUEST"),
        ({"answer": None}, "NO_REQUEST"),
        ({"user_id": HELD_OUT[0]}, "HELD_OUT_USER"),
    ],
)
def test_what_is_not_kept_says_why(changes: dict[str, object], why: str):
    assert decode_praise(mined(1, TRAINED[0], **changes)) == (None, why)


def test_praise_that_is_no_answer_in_words_is_not_kept():
    said = mined(1, TRAINED[0])
    said.answer.Clear()
    write_message(text_message("assistant", "  "), said.answer)
    assert decode_praise(said) == (None, "NO_ANSWER_IN_WORDS")


@pytest.mark.parametrize("field", ["feedback_id", "tenant", "user_id", "create_time"])
def test_incomplete_praise_is_refused(field: str):
    with pytest.raises(InvalidArgument) as refused:
        decode_praise(mined(1, TRAINED[0], **{field: None}))
    assert refused.value.reason == "INCOMPLETE_PAIR"


@pytest.mark.parametrize(("wanted", "taken"), [(0, 0), (8, 2)])
def test_a_run_takes_praised_answers_along_if_it_is_to(wanted: int, taken: int):
    house = House(least_pairs=4, caps=Caps(praised_answers=wanted))
    house.mine(6, 2)
    said = [mined(n, TRAINED[50 + n]) for n in range(3)]
    # A rating takes the praise of the second one back.
    said.append(mined(9, TRAINED[60], replaces=["f1"], kind=events_pb2.FOLLOW_UP_KIND_NONE))
    for one in said:
        house.publish(FEEDBACK_MINED, one.feedback_id, one.SerializeToString())
    drain(praise_stage(house.database, house.log, SqlSession))
    assert house.app.preview(LOCAL, str).praised_answers == taken
    with house.store.read() as session:
        assert [one.pair_id for one in session.praised(LOCAL, 9)] == ["f2", "f0"]
