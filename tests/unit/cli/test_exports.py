"""What chat applications export: trees of messages, with branches, tools and what users said of answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.cli.domain.formats import Reader, detect
from services.cli.domain.records import Conversation, Item, Line
from services.cli.domain.trees import Node, flattened
from shared.language.errors import InvalidArgument
from shared.language.messages import ToolCall, ToolResult, content_of, text_message
from shared.language.opinions import Rating


def read(record: dict[str, Any], **more: Any) -> Item:
    return Reader(**more).read(record)


def told(said: Conversation) -> list[tuple[int, str, str]]:
    return [(place, one.message.role, content_of(one.message)) for place, one in said.placed()]


def chain(*said: str) -> dict[str, Node]:
    """`name<parent: text`; a text that begins with "<" is an answer."""
    found = {}
    for one in said:
        head, _, text = one.partition(": ")
        name, _, parent = head.partition("<")
        role = "assistant" if text.startswith("<") else "user"
        lines = (Line(text_message(role, text), name),) if text else ()
        found[name] = Node(name, parent, lines)
    return found


def test_the_current_branch_comes_last_and_replaces_the_others() -> None:
    nodes = chain("r<", "a<r: Hi", "b<a: <one", "x<b: Old", "y<x: <old", "c<a: <two", "d<c: New")
    for current, order in (("d", ["<one", "Old", "<old", "<two", "New"]), ("y", ["<two", "New"])):
        lines = flattened(nodes, current)
        assert [line.message.text for line in lines][1 : len(order) + 1] == order
    lines = flattened(nodes, "d")
    assert [line.place for line in lines] == [0, 1, 2, 3, 1, 2]
    assert [line.signal for line in lines] == ["", "", "", "", "regeneration", ""]
    first = f"000001-{lines[4].replaces.partition('-')[2]}"
    assert lines[4].replaces == first
    assert flattened(nodes, "nobody")[-1].message.text == "New"


def test_the_same_words_in_two_branches_are_two_turns() -> None:
    nodes = chain("a<: Hi", "b<a: <one", "c<b: Thanks", "d<a: <two", "e<d: Thanks", "f<a: <one")
    lines = flattened(nodes, "e")
    thanks = [line for line in lines if line.message.text == "Thanks"]
    assert [line.place for line in thanks] == [2, 2]
    assert (thanks[0].turn_id, bool(thanks[1].turn_id)) == ("", True)
    # Said twice in one place it is one turn.
    assert [line.message.text for line in lines].count("<one") == 1


def test_a_tree_may_be_deep_broken_or_a_ring() -> None:
    deep = {str(n): Node(str(n), str(n - 1), chain(f"n<: {n}")["n"].lines) for n in range(3000)}
    assert [line.place for line in flattened(deep, "2999")] == list(range(3000))
    ring = chain("a<c: A", "b<a: B", "c<b: C")
    assert sorted(line.message.text for line in flattened(ring, "c")) == ["A", "B", "C"]
    assert [line.message.text for line in flattened(chain("a<gone: A"), "a")] == ["A"]


def node(name: str, parent: str, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    kind = more.pop("content_type", "text")
    message = {
        "id": name,
        "author": {"role": role, "name": more.pop("tool", None), "metadata": {}},
        "create_time": 1_700_000_000.5,
        "content": more.pop("content", {"content_type": kind, "parts": list(parts)}),
        "metadata": {"model_slug": "gpt-4o"} if role == "assistant" else {},
        "recipient": "all",
        **more,
    }
    return {"id": name, "message": message, "parent": parent, "children": []}


def chatgpt(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    root: dict[str, Any] = {"id": "root", "message": None, "parent": None, "children": []}
    mapping = {"root": root, **{one["id"]: one for one in nodes}}
    chat = {"title": "t", "create_time": 1.0, "mapping": mapping, "current_node": nodes[-1]["id"]}
    return {**chat, "conversation_id": "c-1", "default_model_slug": "gpt-4", **more}


def test_chatgpt() -> None:
    record = chatgpt(
        node("s", "root", "system", ""),
        node("h", "s", "user", "About me", metadata={"is_visually_hidden_from_conversation": True}),
        node("u", "h", "user", "Name a dog"),
        node("t", "u", "assistant", content={"content_type": "thoughts", "thoughts": []}),
        node("a1", "t", "assistant", "Felix"),
        node("a2", "t", "assistant", "Rex"),
        node("p", "a2", "user", {"content_type": "image_asset_pointer", "asset_pointer": "f://1"}),
        node("e", "p", "assistant", ""),
    )
    assert detect(record) == "chatgpt"
    item = read(record, user="ada@example.org")
    (said,) = item.conversations
    assert (said.id, said.user) == ("c-1", "ada@example.org")
    assert told(said) == [
        (0, "user", "Name a dog"),
        (1, "assistant", "Felix"),
        (1, "assistant", "Rex"),
        (2, "user", "f://1"),
    ]
    rex = said.lines[2]
    assert (rex.completion_id, rex.model_version, rex.signal) == ("a2", "gpt-4o", "regeneration")
    assert rex.created == datetime.fromtimestamp(1_700_000_000.5, UTC)
    assert read(record).conversations[0].user == "import-c-1"
    assert json.dumps(Reader().ignored.counts) == "{}"


def test_chatgpt_tools_are_calls_and_results() -> None:
    code = {"content_type": "code", "language": "python", "text": "1+1"}
    out = {"content_type": "execution_output", "text": "2"}
    record = chatgpt(
        node("u", "root", "user", "Add"),
        node("c", "u", "assistant", content=code, recipient="python"),
        node("o", "c", "tool", content=out, tool="python"),
        node("a", "o", "assistant", "Two"),
    )
    lines = read(record).conversations[0].lines
    assert lines[1].message.parts == (ToolCall("c", "python", "1+1"),)
    assert lines[2].message.parts == (ToolResult("python", "2"),)
    assert [line.message.role for line in lines] == ["user", "assistant", "tool", "assistant"]


def test_chatgpt_feedback_finds_the_answer() -> None:
    record = {
        "id": "a2",
        "conversation_id": "c-1",
        "user_id": "user-7",
        "rating": "thumbs_down",
        "content": '{"tags": ["not helpful"], "text": "too long"}',
        "create_time": "2024-01-01T00:00:00Z",
    }
    assert detect(record) == "chatgpt"
    (given,) = read(record).feedback
    assert (given.completion_id, given.value, given.user_id) == ("a2", False, "user-7")
    assert given.comment == "too long; not helpful"
    with pytest.raises(InvalidArgument, match="rating must be one of"):
        read({**record, "rating": "meh"})


CLAUDE = {
    "uuid": "c-2",
    "name": "Dogs",
    "account": {"uuid": "ada"},
    "created_at": "2026-01-01T10:00:00Z",
    "chat_messages": [
        {
            "uuid": "m1",
            "sender": "human",
            "text": "Sum this",
            "content": [{"type": "text", "text": "Sum this"}],
            "attachments": [{"file_name": "a.csv", "extracted_content": "1,2"}],
            "files": [{"file_name": "b.png"}],
            "created_at": "2026-01-01T10:00:00.5Z",
        },
        {
            "uuid": "m2",
            "sender": "assistant",
            "text": "",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "repl", "input": {"code": "1+2"}},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"text": "3"}]},
                {"type": "text", "text": "Three."},
            ],
        },
        {"uuid": "m3", "sender": "human", "text": "Thanks"},
        {"uuid": "m4", "sender": "assistant", "text": "", "content": []},
    ],
}


def test_claude() -> None:
    assert detect(CLAUDE) == "claude"
    (said,) = read(CLAUDE).conversations
    assert (said.id, said.user) == ("c-2", "ada")
    assert told(said) == [
        (0, "user", "Sum this\na.csv\nb.png"),
        (1, "assistant", 'Let me see.\nt1 repl {"code":"1+2"}'),
        (2, "tool", "t1 3"),
        (3, "assistant", "Three."),
        (4, "user", "Thanks"),
    ]
    assert [line.completion_id for line in said.lines] == ["", "", "", "m2", ""]
    assert said.lines[0].created == datetime(2026, 1, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    with pytest.raises(InvalidArgument, match="sender must be one of"):
        read({"uuid": "x", "chat_messages": [{"sender": "elf", "text": "hi"}]})


def test_claude_branches() -> None:
    said = [
        ("m1", "", "human", "Hi"),
        ("m2", "m1", "assistant", "A"),
        ("m3", "m1", "assistant", "B"),
    ]
    messages = [
        {"uuid": name, "parent_message_uuid": parent or "0000", "sender": who, "text": text}
        for name, parent, who, text in said
    ]
    record = {"uuid": "c", "chat_messages": messages, "current_leaf_message_uuid": "m2"}
    (found,) = read(record).conversations
    assert told(found) == [(0, "user", "Hi"), (1, "assistant", "B"), (1, "assistant", "A")]
    assert found.lines[2].signal == "regeneration"


def webui(name: str, parent: str | None, role: str, content: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "parentId": parent,
        "childrenIds": [],
        "role": role,
        "content": content,
        **more,
    }


SAID = [
    webui("u", None, "user", "Name a dog", timestamp=1_700_000_000, models=["m-a", "m-b"]),
    webui("a", "u", "assistant", "Felix", model="m-a", modelIdx=0),
    webui(
        "b",
        "u",
        "assistant",
        '<details type="reasoning" done="true">\n<summary>Thought</summary>\n> hm\n</details>\nRex',
        model="org/m b",
        annotation={"rating": 1, "reason": "accurate", "comment": "good", "details": {"rating": 9}},
        feedbackId="f-1",
    ),
]
CHAT = {
    "id": "c-3",
    "user_id": "ada",
    "title": "Dogs",
    "chat": {"history": {"messages": {one["id"]: one for one in SAID}, "currentId": "b"}},
}
FEEDBACK: dict[str, Any] = {
    "id": "f-1",
    "user_id": "ada",
    "version": 0,
    "type": "rating",
    "data": {
        "rating": 1,
        "model_id": "org/m b",
        "sibling_model_ids": ["m-a"],
        "reason": "accurate",
        "comment": "good",
        "details": {"rating": 9},
    },
    "meta": {"chat_id": "c-3", "message_id": "b", "message_index": 2, "arena": True},
    "updated_at": 1_700_000_100,
}


def test_open_webui_chats() -> None:
    assert detect(CHAT) == "open-webui"
    item = read(CHAT)
    (said,) = item.conversations
    assert (said.id, said.user) == ("c-3", "ada")
    assert told(said) == [
        (0, "user", "Name a dog"),
        (1, "assistant", "Felix"),
        (1, "assistant", "Rex"),
    ]
    assert (said.lines[2].model_version, said.lines[2].completion_id) == ("org:m-b", "b")
    assert said.lines[0].created == datetime.fromtimestamp(1_700_000_000, UTC)
    thumb, rating = item.feedback
    assert (thumb.value, thumb.comment, thumb.completion_id) == (True, "accurate; good", "b")
    assert (thumb.feedback_id, rating.feedback_id) == ("f-1", "f-1.1")
    assert (rating.value, rating.comment, rating.user_id) == (Rating(9, 1, 10), "", "ada")
    listed = {"id": "c", "chat": {"messages": [{**one, "parentId": None} for one in SAID[:2]]}}
    assert told(read(listed).conversations[0])[1] == (1, "assistant", "Felix")


def test_open_webui_feedback_counts_once_with_its_chat() -> None:
    item = read(FEEDBACK)
    assert (item.conversations, item.preferences) == ((), ())
    annotated = read(CHAT).feedback
    # Whichever comes first, the other one is the same piece of feedback.
    for one, other in zip(item.feedback, annotated, strict=True):
        assert (one.feedback_id, one.digest) == (other.feedback_id, other.digest)
    assert item.feedback[0].create_time == datetime.fromtimestamp(1_700_000_100, UTC)


@pytest.mark.parametrize(("rating", "chosen"), [(1, "Rex"), ("-1", "Felix")])
def test_open_webui_side_by_side_is_a_preference(rating: object, chosen: str) -> None:
    data = {**FEEDBACK["data"], "rating": rating}
    item = read({**FEEDBACK, "data": data, "snapshot": {"chat": CHAT}})
    assert [one.id for one in item.conversations] == ["c-3"]
    (pair,) = item.preferences
    assert [one.text for one in pair.prompt] == ["Name a dog"]
    assert {pair.chosen.text, pair.rejected.text} == {"Rex", "Felix"}
    assert (pair.chosen.text, pair.source, pair.user_id) == (chosen, "arena_vote", "ada")
    assert pair.model_version == ("m-a" if chosen == "Rex" else "org:m-b")


def test_open_webui_says_what_is_missing() -> None:
    with pytest.raises(InvalidArgument) as refused:
        read({**FEEDBACK, "meta": {}})
    assert refused.value.field == "meta.message_id"
    with pytest.raises(InvalidArgument) as refused:
        read({"id": "c", "chat": {"title": "x"}})
    assert refused.value.field == "chat.history.messages"
    data = {**FEEDBACK["data"], "rating": None, "details": {}, "comment": ""}
    assert [one.comment for one in read({**FEEDBACK, "data": data}).feedback] == ["accurate"]


def test_sharegpt_with_tools_and_with_roles() -> None:
    said = [
        {"from": "system", "value": "x"},
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Bonn"}}'},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "It rains."},
    ]
    lines = read({"conversations": said, "tools": "[]"}).conversations[0].lines
    assert [line.message.role for line in lines] == ["user", "assistant", "tool", "assistant"]
    assert lines[1].message.parts == (ToolCall("", "weather", '{"city":"Bonn"}'),)
    assert lines[2].message.parts == (ToolResult("", "rain"),)
    loose = read({"conversations": [said[1], {"from": "tool_call", "value": "weather()"}]})
    assert loose.conversations[0].lines[1].message.parts == (ToolCall("", "", "weather()"),)
    roles = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    item = read({"id": "r", "model": "m", "conversations": roles})
    assert told(item.conversations[0]) == [(0, "user", "Hi"), (1, "assistant", "Hello")]
    assert item.conversations[0].lines[1].model_version == "m"


REQUEST = {
    "custom_id": "r-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "gpt-4o",
        "user": "ada",
        "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Hi"}],
    },
}
OUTPUT = {
    "id": "batch_req_1",
    "custom_id": "r-1",
    "response": {
        "status_code": 200,
        "body": {
            "id": "chatcmpl-1",
            "created": 1_700_000_000,
            "model": "gpt-4o-2024",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}],
        },
    },
    "error": None,
}


def test_a_batch_is_joined_with_its_requests() -> None:
    reader = Reader()
    (asked,) = reader.read(REQUEST).conversations
    (answered,) = reader.read(OUTPUT).conversations
    assert (asked.id, asked.user) == (answered.id, answered.user)
    assert asked.user == "ada"
    assert told(asked) + told(answered) == [(0, "user", "Hi"), (1, "assistant", "Hello")]
    line = answered.lines[0]
    assert (line.completion_id, line.model_version) == ("chatcmpl-1", "gpt-4o-2024")
    with pytest.raises(InvalidArgument, match="request was not read before it"):
        read(OUTPUT)
    failed = {**OUTPUT, "response": {"status_code": 400, "body": {}}, "error": {"message": "bad"}}
    with pytest.raises(InvalidArgument, match="the request failed"):
        reader.read(failed)


def test_fields_that_are_not_read_are_counted() -> None:
    reader = Reader()
    said = [{"role": "user", "content": "Hi"}]
    for number in range(3):
        reader.read(
            {"messages": said, "models": "x", "lang": "en" if number else None, "id": number}
        )
    assert reader.ignored.counts == {"models (model?)": 3, "lang": 2}
    reader.read({"messages": said, "usr": "ada"})
    assert reader.ignored.counts["usr (user?)"] == 1
    reader.read(
        {"messages": [{**said[0], "model": "m", "ts": None}] * 2 + [{**said[0], "model": "m"}]}
    )
    assert reader.ignored.counts["messages[].model (model_version?)"] == 1
