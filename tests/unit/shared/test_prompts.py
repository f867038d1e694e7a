"""Messages as text, as rows and in a model's form; prompts cut in their middle. Lengths are in words here."""

from __future__ import annotations

import pytest

from shared.language.messages import (
    Media,
    Message,
    Text,
    ToolCall,
    ToolResult,
    message_of,
    message_row,
    openai_messages,
    plain_text,
    text_message,
    with_persona,
)
from shared.language.prompts import GAP, alternating, cut_in_middle

CALL = Message("assistant", (Text("I look."), ToolCall("c1", "weather", '{"place": "Oslo"}')))
RESULT = Message("tool", (ToolResult("c1", "12 degrees"),))
SYSTEM = text_message("system", "Be kind.")


def user(text: str) -> Message:
    return text_message("user", text)


def answer(text: str) -> Message:
    return text_message("assistant", text)


def words(messages: tuple[Message, ...]) -> int:
    return sum(len(plain_text(one).split()) for one in messages)


def texts(messages: tuple[Message, ...]) -> list[str]:
    return [plain_text(one) for one in messages]


def test_no_part_of_a_message_is_an_empty_turn() -> None:
    picture = Message("user", (Media("sha256:1", "image_url"), Text("What is it?")))
    odd = Message("user", (Media("f1", "input_audio"), Media("f2", "application/pdf")))
    assert texts((CALL, RESULT, picture, odd)) == [
        'I look.\n[calls weather with {"place": "Oslo"}]',
        "12 degrees",
        "[image]\nWhat is it?",
        "[audio]\n[file]",
    ]
    assert openai_messages((CALL, RESULT)) == [
        {"role": "assistant", "content": 'I look.\n[calls weather with {"place": "Oslo"}]'},
        {"role": "tool", "content": "12 degrees"},
    ]


def test_calls_are_structured_where_that_is_asked_for_and_they_can_be_read() -> None:
    function = {"name": "weather", "arguments": '{"place": "Oslo"}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    assert openai_messages((CALL, RESULT), calls_as_text=False) == [
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
    ]
    for unreadable in ("{cut", "[1]", ""):
        broken = Message("assistant", (ToolCall("c1", "weather", unreadable),))
        expected = {"role": "assistant", "content": f"[calls weather with {unreadable}]"}
        assert openai_messages((broken,), calls_as_text=False) == [expected]
    both = Message("user", (ToolResult("c1", "12"), ToolResult("c2", "3"), Text("And now?")))
    assert openai_messages((both,), calls_as_text=False) == [
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
        {"role": "tool", "tool_call_id": "c2", "content": "3"},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    "message", [user("Hi"), CALL, RESULT, Message("user", (Media("f", "image/png"), Text("x")))]
)
def test_a_row_gives_the_message_back(message: Message) -> None:
    assert message_of(message_row(message)) == message


def test_rows_of_text_are_as_in_older_snapshots() -> None:
    assert message_row(Message("user", (Text("a"), Text("b")))) == ["user", "a\nb"]
    assert message_of(["user", "a\nb"]) == user("a\nb")


def test_what_fits_is_left_alone() -> None:
    chat = (SYSTEM, user("one two"), answer("three"), user("four"))
    assert cut_in_middle(chat, 6, words) is chat


def test_the_oldest_turns_go_and_the_rest_begins_with_the_user() -> None:
    chat = (
        *with_persona((SYSTEM,), "Brief."),  # 9 words
        user("1 2 3"),
        answer("4 5 6"),
        user("7 8 9"),
        answer("10 11 12"),
        text_message("system", "Now rhyme."),
        user("13 14 15"),
    )
    persona = "Be kind.\nWhat is known of the user: Brief."
    kept = cut_in_middle(chat, 20, words)
    # 9 + 2 words of the system, and three turns of 3. A fourth turn would be an answer without its question.
    assert texts(kept) == [persona, "7 8 9", "10 11 12", "Now rhyme.", "13 14 15"]
    for limit in (19, 14):
        assert texts(cut_in_middle(chat, limit, words)) == [persona, "Now rhyme.", "13 14 15"]


def test_after_the_last_question_the_oldest_calls_go_with_their_results() -> None:
    calls = [
        message
        for n in range(4)
        for message in (
            Message("assistant", (ToolCall(f"c{n}", "f", str(n)),)),  # 4 words
            Message("tool", (ToolResult(f"c{n}", f"result {n}"),)),  # 2 words
        )
    ]
    chat = (SYSTEM, user("old"), answer("old"), user("the question"), *calls)
    kept = cut_in_middle(chat, 16, words)
    assert texts(kept)[:2] == ["Be kind.", "the question"]
    assert kept[2:] == tuple(calls[4:])
    assert cut_in_middle(chat, 15, words)[2:] == tuple(calls[6:])


def test_the_longest_messages_lose_their_inside() -> None:
    def length(messages: tuple[Message, ...]) -> int:
        return sum(len(plain_text(one)) for one in messages)

    chat = (text_message("system", "S" * 10), answer("gone"), user("a" * 50 + "b" * 50))
    system, asked = cut_in_middle(chat, 60, length)
    assert system.text == "S" * 10
    # 60 - 10 of the system - 7 of the gap: 43 characters, the odd one at the beginning.
    assert asked.text == "a" * 22 + GAP + "b" * 21
    both = (text_message("system", "s" * 90 + "P" * 10), user("u" * 100), RESULT)
    system, asked, result = cut_in_middle(both, 74, length)
    # 74 - 10 of the result - 2 gaps of 7: 25 characters each; the persona stands at the system's end.
    assert system.text == "s" * 13 + GAP + "ss" + "P" * 10
    assert (asked.text, result) == ("u" * 13 + GAP + "u" * 12, RESULT)


def test_results_and_arguments_are_cut_too() -> None:
    def length(messages: tuple[Message, ...]) -> int:
        return sum(len(plain_text(one)) for one in messages)

    chat = (
        user("Why?"),
        Message("assistant", (ToolCall("c", "f", "x" * 100),)),
        Message("tool", (ToolResult("c", "y" * 100),)),
    )
    asked, call, result = cut_in_middle(chat, 90, length)
    assert asked == chat[0]
    # 90 - 4 - len("[calls f with ]") - 2 gaps of 7 = 57: 28 each.
    assert call.parts == (ToolCall("c", "f", "x" * 14 + GAP + "x" * 14),)
    assert result.parts == (ToolResult("c", "y" * 14 + GAP + "y" * 14),)


@pytest.mark.parametrize(
    "chat",
    [(), (SYSTEM,), (answer("one two three"),), (SYSTEM, answer("1 2 3"), answer("4 5 6"))],
)
def test_odd_chats_are_cut_without_an_error(chat: tuple[Message, ...]) -> None:
    assert words(cut_in_middle(chat, 1, words)) <= words(chat)


def test_turns_alternate_for_templates_that_know_nothing_else() -> None:
    chat = (
        SYSTEM,
        user("a"),
        user("b"),
        CALL,
        RESULT,
        text_message("system", "Rhyme."),
        user("c"),
        answer("d"),
    )
    assert [(one.role, one.text) for one in alternating(chat)] == [
        ("user", "Be kind.\n\nRhyme.\n\na\n\nb"),
        ("assistant", 'I look.\n[calls weather with {"place": "Oslo"}]'),
        ("user", "12 degrees\n\nc"),
        ("assistant", "d"),
    ]
    assert [one.role for one in alternating((answer("Hello!"), user("Hi")))] == [
        "user",
        "assistant",
        "user",
    ]
