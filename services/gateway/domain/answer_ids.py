"""The ids of answers at the doors that are not /v1/chat/completions: the completion's id with a prefix, which
`completion_id_of` reads."""

from __future__ import annotations

import re

from shared.language.identifiers import MESSAGE_PREFIX, RESPONSE_PREFIX, completion_id_of

_CALL = "fc_trimtab_"
_CALL_ID = re.compile(rf"{_CALL}(.+)_(\d{{1,6}})")


def message_id(completion_id: str) -> str:
    """Of an Anthropic message, and of the text in a response."""
    return MESSAGE_PREFIX + completion_id


def response_id(completion_id: str) -> str:
    return RESPONSE_PREFIX + completion_id


def call_item_id(completion_id: str, place: int) -> str:
    """Of an answer's call of a function, by its place among the calls."""
    return f"{_CALL}{completion_id}_{place}"


def completion_of_response(said: str) -> str:
    """Empty if the response is not of this gateway."""
    return completion_id_of(said) if said.startswith(RESPONSE_PREFIX) else ""


def answer_item_of(said: str) -> tuple[str, int | None] | None:
    """The completion of an item's id, and the call's place if it is a call; None if it is not of this
    gateway."""
    if said.startswith(MESSAGE_PREFIX):
        return completion_id_of(said), None
    if found := _CALL_ID.fullmatch(said):
        return completion_id_of(found[1]), int(found[2])
    return None
