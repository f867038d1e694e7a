"""Several records of one conversation: each message has its place in it."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.domain import sessions
from services.cli.domain.formats import Reader
from services.cli.domain.records import Conversation
from shared.language.identifiers import user_id_of
from shared.language.messages import default_turn_id, text_message


def record(*texts: str, name: str = "session_id", **more: Any) -> dict[str, Any]:
    """Texts by turns, beginning with the user's; "<" begins an answer."""
    said = [
        {"role": "assistant" if text.startswith("<") else "user", "content": text} for text in texts
    ]
    return {name: "s-1", "user": "ada", "messages": said, **more}


def places(*records: dict[str, Any]) -> list[list[tuple[int, str]]]:
    reader = Reader()
    found = [reader.read(one).conversations for one in records]
    assert {one.id for said in found for one in said} == {"s-1"}
    return [placed(said) for (said,) in found]


def placed(said: Conversation) -> list[tuple[int, str]]:
    return [(place, line.message.text) for place, line in said.placed()]


@pytest.mark.parametrize("name", ["session_id", "sessionId", "conversation_id", "thread_id"])
def test_new_messages_alone_follow_on_the_end(name: str) -> None:
    first, second = record("Hi", "<a", name=name), record("Shorter", "<b", name=name)
    assert places(first, second) == [[(0, "Hi"), (1, "<a")], [(2, "Shorter"), (3, "<b")]]


def test_a_growing_history_stays_in_place_in_any_order() -> None:
    short, long = record("Hi", "<a"), record("Hi", "<a", "Shorter", "<b")
    both = [[(0, "Hi"), (1, "<a")], [(0, "Hi"), (1, "<a"), (2, "Shorter"), (3, "<b")]]
    assert places(short, long) == both
    assert places(long, short) == [both[1], both[0]]
    assert places(short, short) == [both[0], both[0]]


def test_a_window_overlaps_what_is_known() -> None:
    windows = record("Hi", "<a", "B", "<b"), record("<a", "B", "<b", "C"), record("<b", "C", "<c")
    assert [one[0] for one in places(*windows)] == [(0, "Hi"), (1, "<a"), (3, "<b")]
    assert places(*windows)[2] == [(3, "<b"), (4, "C"), (5, "<c")]


def test_the_same_words_said_twice_are_two_turns() -> None:
    again = record("Continue.", "<a"), record("Continue.", "<b"), record("Continue.", "<c")
    assert [one[0][0] for one in places(*again)] == [0, 2, 4]


def test_a_history_that_parts_replaces_what_stood_there() -> None:
    reader = Reader()
    reader.read(record("Hi", "<a", "B", "<b"))
    (edited,) = reader.read(record("Hi", "<a", "B!", "<c")).conversations
    assert placed(edited) == [(0, "Hi"), (1, "<a"), (2, "B!"), (3, "<c")]
    assert [line.signal for line in edited.lines] == ["", "", "edit", ""]
    assert edited.lines[2].replaces == default_turn_id(2, text_message("user", "B"))
    (anew,) = reader.read(record("Hi", "<a", "B!", "<d")).conversations
    assert [line.signal for line in anew.lines] == ["", "", "", "regeneration"]
    assert anew.lines[3].replaces == default_turn_id(3, text_message("assistant", "<c"))


def generation(name: str, asked: list[str], answer: str, **more: Any) -> dict[str, Any]:
    said = [
        {"role": "assistant" if text.startswith("<") else "user", "content": text} for text in asked
    ]
    return {"id": name, "traceId": "t-1", "input": said, "output": answer, **more}


def test_generations_of_a_session_that_cut_their_history() -> None:
    reader = Reader()
    one = generation("o1", ["Hi"], "<a", sessionId="s-9")
    two = generation("o2", ["Shorter"], "<b", sessionId="s-9", traceId="t-2")
    (first,), (second,) = (reader.read(given).conversations for given in (one, two))
    assert (first.id, second.id) == ("s-9", "s-9")
    assert placed(first) + placed(second) == [(0, "Hi"), (1, "<a"), (2, "Shorter"), (3, "<b")]


def test_answers_alike_are_told_apart_by_their_ids() -> None:
    reader = Reader()
    given = [generation(f"o{n}", ["Continue."], "<ok", sessionId="s-9") for n in range(2)]
    first, again, repeated = (reader.read(one).conversations[0] for one in (*given, given[1]))
    assert [placed(one)[0][0] for one in (first, again, repeated)] == [0, 2, 2]


def test_calls_of_a_trace_that_are_no_history_of_each_other_are_conversations_apart() -> None:
    reader = Reader()
    router = generation("o1", ["Where do I sit?"], "travel")
    answer = generation("o2", ["Book", "<booked", "Where do I sit?"], "<12C")
    later = generation("o3", ["Book", "<booked", "Where do I sit?", "<12C", "Thanks"], "<bye")
    found = [reader.read(one).conversations[0] for one in (router, answer, later)]
    assert [one.id for one in found] == ["t-1", "t-1.2", "t-1.2"]
    assert [place for place, _ in found[2].placed()] == [0, 1, 2, 3, 4, 5]


def nameless(*texts: str, **more: Any) -> dict[str, Any]:
    return {name: value for name, value in record(*texts, **more).items() if name != "session_id"}


def test_a_growing_history_without_any_id_is_one_conversation() -> None:
    calls = [nameless("Hi", "<a"), nameless("Hi", "<a", "B", "<b")]
    calls.append(nameless("Hi", "<a", "B", "<b", "C", "<c"))
    for order in (calls, calls[::-1], [calls[1], calls[0], calls[2]]):
        reader = Reader()
        found = [reader.read(one).conversations[0] for one in order]
        assert len({(one.id, one.user) for one in found}) == 1
        assert max(found, key=lambda one: len(one.lines)).lines[5].message.text == "<c"
        assert all(placed(one)[0][0] == 0 for one in found)


def test_others_may_begin_with_the_same_words() -> None:
    reader = Reader()
    first = nameless("Hi", "<a", "B", "<b")
    others = [
        nameless("Hi", "<a", "C", "<c"),
        nameless("Hi", "<x"),
        nameless("Hi", "<a", "B", "<b", user="bob"),
    ]
    found = [reader.read(one).conversations[0] for one in (first, *others)]
    assert len({one.id for one in found}) == 4
    assert [one.user for one in found] == ["ada", "ada", "ada", "bob"]
    assert all(line.signal == "" for one in found for line in one.lines)


def test_traces_whose_history_grows_are_one_conversation() -> None:
    reader = Reader()
    one = generation("o1", ["Hi"], "<a")
    two = generation("o2", ["Hi", "<a", "Shorter"], "<b", traceId="t-2")
    other = generation("o3", ["Hello"], "<c", traceId="t-3")
    found = [reader.read(given).conversations[0] for given in (one, two, other)]
    assert [said.id for said in found] == ["t-1", "t-1", "t-3"]
    assert [line.completion_id for line in found[1].lines] == ["", "", "", "o2"]
    assert found[1].user == "import-t-1"


def test_a_user_who_is_given_stands_for_nobody_else() -> None:
    reader = Reader(user="auth0|5f7c")
    said = {"messages": [{"role": "user", "content": "Hi"}]}
    ours = reader.read(said).conversations[0].user
    assert (ours, reader.read({**said, "user": "bob"}).conversations[0].user) == (
        user_id_of("auth0|5f7c"),
        "bob",
    )
    pair = {"prompt": "Hi", "chosen": "a", "rejected": "b"}
    assert reader.read(pair).preferences[0].user_id == ours
    thumb = reader.read({"prompt": "Hi", "completion": "a", "label": True})
    assert (thumb.conversations[0].user, thumb.feedback[0].user_id) == (ours, ours)


def instructed(words: str, *texts: str) -> dict[str, Any]:
    said = record(*texts)
    return {**said, "messages": [{"role": "system", "content": words}, *said["messages"]]}


def test_a_side_call_of_a_session_is_a_part_of_its_own() -> None:
    reader = Reader()
    given = [
        instructed("Be kind. 10:01", "Hi", "<a"),
        instructed("Write a title.", "Hi <a", "<Greeting"),
        instructed("Be kind. 10:02", "Shorter", "<b"),
        instructed("Write a title.", "Shorter <b", "<Brevity"),
    ]
    found = [reader.read(one).conversations[0] for one in given]
    assert [one.id for one in found] == ["s-1", "s-1.2", "s-1", "s-1.2"]
    assert [placed(one)[0][0] for one in found] == [0, 0, 2, 2]


def test_instructions_that_always_differ_tell_nothing() -> None:
    reader = Reader()
    words = ["one", "two", "three", "four", "five", "six"]
    given = [instructed(f"Context {word}", word, f"<{word}") for word in words]
    found = [reader.read(one).conversations[0].id for one in given]
    assert found[4:] == ["s-1", "s-1"]


def test_a_trace_of_very_many_calls_is_read_in_time() -> None:
    reader = Reader()
    found = [
        reader.read(generation(f"o{n}", [f"Chunk {n}"], f"<{n}")).conversations[0]
        for n in range(500)
    ]
    assert len({one.id for one in found}) == 500


def test_the_oldest_conversations_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 8)
    reader = Reader()

    def first(name: str, number: int) -> int:
        said = {**record(f"say {number}", "<a"), "session_id": name}
        return placed(reader.read(said).conversations[0])[0][0]

    # Four conversations with two messages each are known; then one with four, so that the oldest is not.
    assert [first(f"s-{n}", 0) for n in range(4)] == [0, 0, 0, 0]
    assert first("s-1", 1) == 2
    assert [first("s-0", 1), first("s-3", 1)] == [0, 2]
