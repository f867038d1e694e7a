"""OpenAI chat bodies: who speaks, in which conversation, and which turns are made of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.gateway.domain.linking import CallPosition
from shared.language.errors import InvalidArgument
from shared.language.identifiers import check_segment, stable_id
from shared.language.messages import Message
from shared.language.openai_messages import has_content, read_message
from shared.language.turns import Turn

_SEGMENT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


@dataclass(frozen=True, slots=True)
class Chat:
    """The part of a request that the gateway needs to understand."""

    tenant: str
    key_digest: str
    # Who speaks, and in which conversation; empty if the request does not say.
    speaker: str
    named_conversation: str
    # Without system messages. A message's index is its place here.
    messages: tuple[Message, ...]
    metadata: Mapping[str, str]
    # OpenAI's `store`; None if it was not given.
    store: bool | None = None
    # The client library repeats a call that was not answered.
    repeated: bool = False

    def user_id(self, conversation_id: str) -> str:
        """The speaker, or an anonymous one for each conversation."""
        if self.speaker:
            return self.speaker
        return f"anonymous-{stable_id(self.key_digest, conversation_id, length=16)}"


def read_chat(
    body: Mapping[str, Any], headers: Mapping[str, str], tenant: str, key_digest: str
) -> Chat:
    """InvalidArgument names the field that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages must be a list with at least one message", "messages")
    spoken = [read_message(one, f"messages[{place}]") for place, one in enumerate(messages)]
    turns = tuple(message for message in spoken if message.role != "system")
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    said = body.get("user") or headers.get("x-trimtab-user") or ""
    if not isinstance(said, str):
        raise _wrong("user must be a string", "user")
    given = headers.get("x-trimtab-conversation") or metadata.get("conversation_id") or ""
    store = body.get("store")
    if store is not None and not isinstance(store, bool):
        raise _wrong("store must be true or false", "store")
    return Chat(
        tenant=tenant,
        key_digest=key_digest,
        speaker=_user(said) if said else "",
        named_conversation=check_segment(str(given), "conversation_id") if given else "",
        messages=turns,
        metadata=_texts(metadata),
        store=store,
        repeated=headers.get("x-stainless-retry-count", "0") != "0",
    )


def asked_turns(
    chat: Chat, conversation_id: str, position: CallPosition, channel: str, time: datetime
) -> list[Turn]:
    """The messages that the conversation does not have yet, as turns. Versions of earlier answers are unknown
    here; if they were logged when they were made, that record stays."""
    last = len(chat.messages) - 1
    user_id = chat.user_id(conversation_id)
    return [
        Turn(
            tenant=chat.tenant,
            conversation_id=conversation_id,
            index=index,
            message=message,
            user_id=user_id,
            create_time=time,
            channel=channel,
            metadata=chat.metadata if index == last else {},
            signal=position.signal if index == last else "",
            replaces_turn_id=position.replaces_turn_id if index == last else "",
        )
        for index, message in enumerate(chat.messages)
        if index >= position.told and has_content(message)
    ]


def _user(said: str) -> str:
    """As given if it can be an id, otherwise a hash: applications name users as they like."""
    return said if _SEGMENT.fullmatch(said) else f"user-{stable_id(said)}"


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): value for name, value in metadata.items() if isinstance(value, str)}


def _wrong(message: str, name: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_BODY", field=name)
