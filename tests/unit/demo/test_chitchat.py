"""Human chats become a product's log: roles alternate, counts hold."""

import json
from pathlib import Path
from typing import Any

from infra.demo.chitchat import ChatTurn, Rating, convert, read
from infra.demo.imports import Importer


def said(sender: str, *texts: str) -> list[dict[str, str]]:
    return [
        {"text": text, "timestamp": f"2018-05-02T19:38:0{n}Z", "sender": sender}
        for n, text in enumerate(texts)
    ]


RAW: dict[str, Any] = {
    "alone": {"messages": [said("a", "hello?")], "start": "2018-05-02T19:38:00Z"},
    "chat": {
        "messages": [
            said("a", "hi", "how are you?"),
            said("b", "fine"),
            said("a", " "),
            said("b", "and you?"),
            said("a", "tired"),
            said("b", "oh"),
            said("a", "yes"),
        ],
        "ratings": {"witty": 10, "upbeat": 4, "interesting": 1},
        "start": "2018-05-02T19:38:00Z",
    },
    "short": {"messages": [said("c", "hi"), said("a", "bye")], "start": "2018-05-02T19:38:00Z"},
}


def test_texts_of_one_sender_in_a_row_become_one_turn() -> None:
    chat, short = list(convert(RAW))
    assert [turn.role for turn in chat.turns] == ["user", "assistant", "user", "assistant", "user"]
    assert chat.turns[0] == ChatTurn("user", "hi\nhow are you?", "2018-05-02T19:38:00Z")
    assert chat.turns[1].content == "fine\nand you?"
    assert (chat.user_id, short.user_id) == ("a", "c")
    assert (chat.follow_ups, short.follow_ups) == (2, 0)


def test_marks_become_one_rating() -> None:
    chat, short = list(convert(RAW))
    assert chat.rating == Rating(5.0, "interesting 1, upbeat 4, witty 10")
    assert short.rating is None


def test_only_chats_of_two_people_are_read(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps(RAW))
    assert [chat.conversation_id for chat in read(9, file)] == ["chat", "short"]
    assert [chat.conversation_id for chat in read(1, file)] == ["chat"]


async def test_an_import_prefixes_every_id() -> None:
    chat = next(convert(RAW))
    importer = Importer("http://127.0.0.1:1", "key", "demo1")
    body, rating = importer.conversation(chat), importer.rating(chat)
    await importer.close()
    assert (body["id"], body["user"], body["channel"]) == ("demo1-chat", "demo1-a", "import")
    versions = [message.get("model_version") for message in body["messages"]]
    assert versions == [None, "human-chat", None, "human-chat", None]
    assert rating["conversation_id"] == "demo1-chat"
    assert (rating["value"], rating["min"], rating["max"]) == (5.0, 1, 10)
