"""Preference pairs in each form that they come in."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.domain.formats import Reader, detect
from services.cli.domain.records import Item
from shared.language.errors import InvalidArgument
from shared.language.pairs import Pair

U, U2 = {"role": "user", "content": "Name a dog"}, {"role": "user", "content": "Another"}
A1, A2 = {"role": "assistant", "content": "Rex"}, {"role": "assistant", "content": "Felix"}
SYSTEM = {"role": "system", "content": "Be brief"}


def read(record: dict[str, Any]) -> Item:
    return Reader().read(record)


def texts(pair: Pair) -> tuple[list[tuple[str, str]], str, str]:
    prompt = [(one.role, one.text) for one in pair.prompt]
    return prompt, pair.chosen.text, pair.rejected.text


ASKED = ([("user", "Name a dog")], "Rex", "Felix")
ONE: list[dict[str, Any]] = [
    {"prompt": "Name a dog", "chosen": "Rex", "rejected": "Felix"},
    {"prompt": [U], "chosen": [A1], "rejected": [A2]},
    {"prompt": [SYSTEM, U], "chosen": [A1], "rejected": [A2]},
    {"chosen": [U, A1], "rejected": [U, A2]},
    # A prompt that heads both sides, as text and as messages.
    {"prompt": "Name a dog", "chosen": [U, A1], "rejected": [U, A2]},
    {"prompt": [U], "chosen": [SYSTEM, U, A1], "rejected": [SYSTEM, U, A2]},
    # What another format has, too.
    {"prompt": "Name a dog", "chosen": [U, A1], "rejected": [U, A2], "messages": [U, A1]},
    {"messages": [SYSTEM, U, A1], "chosen": "Rex", "rejected": "Felix"},
    {"messages": [U], "chosen": A1, "rejected": A2},
    # LlamaFactory's.
    {
        "conversations": [{"from": "human", "value": "Name a dog"}],
        "chosen": {"from": "gpt", "value": "Rex"},
        "rejected": {"from": "gpt", "value": "Felix"},
    },
    {"instruction": "Name a dog", "input": "", "chosen": "Rex", "rejected": "Felix"},
    {"question": "Name a dog", "chosen": "Rex", "rejected": "Felix", "system": "Be brief"},
    # HH-RLHF's transcripts.
    {
        "chosen": "\n\nHuman: Name a dog\n\nAssistant: Rex",
        "rejected": "\n\nHuman: Name a dog\n\nAssistant: Felix",
    },
    {
        "prompt": "\n\nHuman: Name a dog\n\nAssistant:",
        "chosen": " Rex".strip(),
        "rejected": "Felix",
    },
    # OpenAI's.
    {"input": {"messages": [SYSTEM, U]}, "preferred_output": [A1], "non_preferred_output": [A2]},
    {"input": [U], "preferred_output": [A1], "non_preferred_output": [A2]},
]


@pytest.mark.parametrize("record", ONE)
def test_one_preference(record: dict[str, Any]) -> None:
    item = read(record)
    (pair,) = item.preferences
    assert texts(pair) == ASKED
    assert (pair.source, pair.user_id) == ("import", f"import-{pair.pair_id}")
    assert (item.conversations, item.feedback) == ((), ())


def test_the_same_pair_has_the_same_id_in_every_form() -> None:
    assert len({read(record).preferences[0].pair_id for record in ONE}) == 1


def test_a_longer_history_is_the_prompt() -> None:
    had = [("user", "Name a dog"), ("assistant", "Rex"), ("user", "Another")]
    chosen, rejected = [U, A1, U2, A2], [U, A1, U2, {"role": "assistant", "content": "Tom"}]
    for prompt in ("Another", "Name a dog", [U, A1, U2], [U, A1]):
        (pair,) = read({"prompt": prompt, "chosen": chosen, "rejected": rejected}).preferences
        assert texts(pair) == (had, "Felix", "Tom")
    after = {"prompt": [U], "chosen": [A1, U2, A2], "rejected": [A1, U2, rejected[3]]}
    assert texts(read(after).preferences[0]) == (had, "Felix", "Tom")
    transcript = "\n\nHuman: Name a dog\n\nAssistant: Rex\n\nHuman: Another\n\nAssistant: "
    (pair,) = read({"chosen": f"{transcript}Felix", "rejected": f"{transcript}Tom"}).preferences
    assert texts(pair) == (had, "Felix", "Tom")


def test_a_conversation_beside_a_pair_comes_in_too() -> None:
    item = read({"id": "r", "messages": [U2, A1], "prompt": [U], "chosen": [A1], "rejected": [A2]})
    assert texts(item.preferences[0]) == ASKED
    (said,) = item.conversations
    assert [line.message.text for line in said.lines] == ["Another", "Rex"]


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"prompt": "Hi", "chosen": "x", "rejected": "x"}, "rejected"),
        ({"prompt": "Hi", "chosen": [U, A1], "rejected": [U, A1]}, "rejected"),
        ({"prompt": "Hi", "chosen": " ", "rejected": "x"}, "chosen"),
        ({"prompt": 7, "chosen": "y", "rejected": "x"}, "prompt"),
        ({"chosen": [A1], "rejected": [A2]}, "prompt"),
        ({"prompt": "Hi", "chosen": [A1, U2], "rejected": "x"}, "chosen"),
        ({"prompt": "Hi", "chosen": [A1], "rejected": [A2, U, A1]}, "rejected"),
        ({"input": {}, "preferred_output": [A1], "non_preferred_output": [A2]}, "input.messages"),
    ],
)
def test_a_bad_preference_names_its_field(record: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(record)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("more", "format_name"),
    [
        ({"chosen": "a", "rejected": "b"}, "trl-preference"),
        ({"conversation_a": [], "conversation_b": []}, "arena"),
        ({"completion": "x", "label": True}, "trl-unpaired"),
        ({"label": False}, "trl-unpaired"),
        ({"preferred_output": [], "non_preferred_output": []}, "openai-preference"),
        # These say nothing more of a conversation.
        ({"traceId": "t", "input": "x", "output": "y"}, "openai"),
        ({"label": "spam", "conversation": "x", "history": [], "chosen": None}, "openai"),
        ({"chat": {"id": 5}, "mapping": {}, "history": {}, "data": {}, "meta": {}}, "openai"),
        # Open WebUI's list of messages is one branch of its tree.
        ({"history": {"messages": {}}, "models": ["m"]}, "open-webui"),
    ],
)
def test_more_fields_never_mean_less(more: dict[str, Any], format_name: str) -> None:
    assert detect({"messages": [U, A1], **more}) == format_name


def test_a_label_of_messages_is_a_thumb_for_the_answer() -> None:
    item = read({"messages": [U, A1], "label": False})
    (thumb,) = item.feedback
    assert (thumb.value, thumb.index, thumb.conversation_id) == (False, 1, item.conversations[0].id)
    assert [line.message.text for line in item.conversations[0].lines] == ["Name a dog", "Rex"]
