"""Which field was meant."""

from __future__ import annotations

import pytest

from shared.language.likely import likely, not_read

CONVERSATION = ("id", "user", "created", "channel", "metadata", "messages")
FEEDBACK = ("id", "completion_id", "conversation_id", "user", "value", "comment", "created")


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("comments", FEEDBACK, "comment"),
        ("completionId", FEEDBACK, "completion_id"),
        ("conversation_id", CONVERSATION, "id"),
        ("user_id", CONVERSATION, "user"),
        ("timestamp", CONVERSATION, "created"),
        ("created_at", FEEDBACK, "created"),
        ("rating", FEEDBACK, "value"),
        ("thread_id", FEEDBACK, "conversation_id"),
        ("thread_id", CONVERSATION, "id"),
        ("response_id", FEEDBACK, "completion_id"),
        ("mesages", CONVERSATION, "messages"),
        ("temperature", CONVERSATION, ""),
        ("", FEEDBACK, ""),
    ],
)
def test_the_field_that_was_meant(name: str, known: tuple[str, ...], meant: str) -> None:
    assert likely(name, known) == meant


def test_what_is_known_is_not_listed() -> None:
    assert not_read(["user", "tags", "comments"], FEEDBACK) == [
        ("comments", "comment"),
        ("tags", ""),
    ]
