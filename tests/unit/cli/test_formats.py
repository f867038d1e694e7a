"""What each format's fields become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.cli.domain.formats import Reader, detect
from services.cli.domain.records import Item
from shared.language.errors import InvalidArgument
from shared.language.identifiers import user_id_of
from shared.language.messages import Part, Text, ToolCall
from shared.language.opinions import Rating

A, B = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
C, D = {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Well"}


def read(record: dict[str, Any], format_name: str = "auto") -> Item:
    return Reader(format_name).read(record)


def said(item: Item, place: int = 0) -> list[tuple[str, str, str]]:
    lines = item.conversations[place].lines
    return [(line.message.role, line.message.text, line.model_version) for line in lines]


def test_the_folder_format_has_its_model_in_metadata() -> None:
    item = read({"id": "w_1", "path": "x/y", "metadata": {"model": "gpt-4"}, "messages": [A, B]})
    assert said(item) == [("user", "Hi", ""), ("assistant", "Hello", "gpt-4")]
    assert item.conversations[0].id == "w_1"


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ({"function_call": {"name": "add", "arguments": "{}"}}, ToolCall("", "add", "{}")),
        (
            {
                "tool_calls": [
                    {"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}
                ]
            },
            ToolCall("c", "run", "ls"),
        ),
        ({"audio": {"id": "a", "transcript": "Hello"}}, Text("Hello")),
        ({"refusal": "I cannot"}, Text("I cannot")),
    ],
)
def test_answers_that_are_no_plain_text_leave_no_hole(answer: dict[str, Any], part: Part) -> None:
    item = read({"user": "ada", "messages": [A, {**B, "content": None, **answer}, C]}, "openai")
    messages = [line.message for line in item.conversations[0].lines]
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].parts == (part,)


def test_wildchat() -> None:
    asked = {**A, "hashed_ip": "ab12", "country": "X", "timestamp": None}
    answered = {**B, "timestamp": "2023-04-09T00:02:53", "turn_identifier": 7}
    record = {
        "conversation_hash": "h1",
        "model": "gpt-3.5-turbo",
        "timestamp": "2023-04-09 00:02:54+00:00",
        "conversation": [asked, answered],
    }
    assert detect(record) == "wildchat"
    item = read(record)
    conversation = item.conversations[0]
    assert (conversation.id, conversation.user) == ("h1", "ab12")
    assert conversation.lines[0].created == datetime(2023, 4, 9, 0, 2, 54, tzinfo=UTC)
    assert conversation.lines[1].created == datetime(2023, 4, 9, 0, 2, 53, tzinfo=UTC)
    assert said(item)[1] == ("assistant", "Hello", "gpt-3.5-turbo")


def test_lmsys() -> None:
    record = {"conversation_id": "l1", "model": "org/vicuna 13b", "conversation": [A, B]}
    assert detect(record) == "lmsys"
    assert said(read(record))[1] == ("assistant", "Hello", "org:vicuna-13b")


def arena(winner: str, a: list[Any], b: list[Any]) -> Item:
    return read(
        {
            "question_id": "q1",
            "model_a": "ma",
            "model_b": "mb",
            "winner": winner,
            "judge": "judge 7",
            "conversation_a": a,
            "conversation_b": b,
            "tstamp": 1_682_351_448.5,
        }
    )


def test_a_vote_on_one_exchange_is_a_preference() -> None:
    item = arena("model_b", [A, B], [A, D])
    assert [one.id for one in item.conversations] == ["q1-a", "q1-b"]
    assert {one.user for one in item.conversations} == {user_id_of("judge 7")}
    assert (said(item, 0)[1][2], said(item, 1)[1][2]) == ("ma", "mb")
    (pair,) = item.preferences
    assert (pair.source, pair.chosen.text, pair.rejected.text) == ("arena_vote", "Well", "Hello")
    assert (pair.conversation_id, pair.model_version) == ("q1-a", "ma")
    assert [one.text for one in pair.prompt] == ["Hi"]
    assert item.feedback == ()
    assert pair.pair_id == arena("model_b", [A, B], [A, D]).preferences[0].pair_id


@pytest.mark.parametrize(
    ("winner", "thumbs"),
    [
        ("model_a", [("q1-a", True), ("q1-b", False)]),
        ("tie", []),
        ("tie (bothbad)", [("q1-a", False), ("q1-b", False)]),
        ("both_bad", [("q1-a", False), ("q1-b", False)]),
    ],
)
def test_a_vote_on_more_is_a_thumb_for_each_conversation(
    winner: str, thumbs: list[tuple[str, bool]]
) -> None:
    item = arena(winner, [A, B, C, D], [A, D, C, B])
    assert [(one.conversation_id, one.value) for one in item.feedback] == thumbs
    assert item.preferences == ()
    with pytest.raises(InvalidArgument, match="winner must be"):
        arena("nobody", [A, B], [A, D])


def test_trl_unpaired() -> None:
    item = read({"prompt": [A], "completion": [B], "label": False})
    assert said(item) == [("user", "Hi", ""), ("assistant", "Hello", "")]
    (thumb,) = item.feedback
    conversation = item.conversations[0]
    assert (thumb.conversation_id, thumb.index, thumb.value) == (conversation.id, 1, False)
    with pytest.raises(InvalidArgument, match="label must be"):
        read({"prompt": "Hi", "completion": "x", "label": "good"})


GENERATION = {
    "id": "o1",
    "traceId": "t1",
    "type": "GENERATION",
    "startTime": "2026-01-01T10:00:00Z",
    "endTime": "2026-01-01T10:00:02Z",
    "model": "gpt-4",
    "userId": "ada@example.org",
    "input": '{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Hi"}]}',
    "output": {"role": "assistant", "content": "Hello"},
}


def test_langfuse_generations_become_turns_and_scores_find_them() -> None:
    reader = Reader()
    item = reader.read(GENERATION)
    (conversation,) = item.conversations
    assert (conversation.id, conversation.user) == ("t1", "ada@example.org")
    assert said(item) == [("user", "Hi", ""), ("assistant", "Hello", "gpt-4")]
    assert conversation.lines[1].completion_id == "o1"
    assert conversation.lines[1].created == datetime(2026, 1, 1, 10, 0, 2, tzinfo=UTC)
    score = {"id": "s1", "trace_id": "t1", "name": "stars", "value": 4, "comment": "ok"}
    (given,) = reader.read(score).feedback
    assert (given.completion_id, given.conversation_id) == ("o1", "")
    assert (given.value, given.comment, given.feedback_id) == (Rating(4, 1, 5), "ok", "s1")
    (unseen,) = Reader().read(score).feedback
    assert (unseen.completion_id, unseen.conversation_id) == ("", "t1")
    assert reader.read({**GENERATION, "type": "SPAN"}) == Item()


CONVAI2 = {
    "dialog": [
        {"sender_class": "Human", "text": "Hi", "evaluation_score": None},
        {"sender_class": "Bot", "text": "Hello", "evaluation_score": 1},
        {"sender_class": "Bot", "text": "Well", "evaluation_score": 0},
    ],
    "start_time": "2018-10-29 03:32:08.296000",
    "end_time": "2018-10-29 03:35:00",
    "eval_score": 4,
    "participant1_id": {"class": "User", "user_id": "User 00172"},
    "participant2_id": {"class": "Bot", "user_id": "Bot 004"},
}


def test_convai2() -> None:
    item = read(CONVAI2)
    (conversation,) = item.conversations
    assert conversation.user == user_id_of("User 00172")
    assert said(item)[1:] == [("assistant", "Hello", "Bot-004"), ("assistant", "Well", "Bot-004")]
    assert conversation.lines[0].created == datetime(2018, 10, 29, 3, 32, 8, 296000, tzinfo=UTC)
    up, down, rating = item.feedback
    assert [(one.index, one.value) for one in (up, down)] == [(1, True), (2, False)]
    assert (rating.index, rating.value) == (None, Rating(4, 1, 5))
    assert read(CONVAI2) == item
    with pytest.raises(InvalidArgument) as refused:
        read({**CONVAI2, "eval_score": 9})
    assert refused.value.field == "eval_score"


def test_a_named_format_is_not_guessed() -> None:
    with pytest.raises(InvalidArgument) as refused:
        read({"messages": [A, B]}, "sharegpt")
    assert refused.value.field == "conversations"
    with pytest.raises(InvalidArgument, match="none of the formats"):
        detect({"text": "x"})
