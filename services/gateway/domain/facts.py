"""What spans and log records say of a call besides its messages, by the names that are in use for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.language.errors import InvalidArgument
from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    model_id_of,
    stable_id,
    user_id_of,
)

CHANNEL = "otlp"
# Of each, the first that names something counts.
USER_KEYS = (
    "user.id",
    "enduser.id",
    "gen_ai.user.id",
    "gen_ai.user",
    "enduser.pseudo.id",
    "traceloop.association.properties.user_id",
    "langfuse.user.id",
    "langsmith.metadata.user_id",
    "ai.telemetry.metadata.userId",
    "ai.telemetry.metadata.user_id",
    "llm.user",  # LiteLLM
    "metadata.user_api_key_end_user_id",  # LiteLLM's proxy
)
CONVERSATION_KEYS = (
    "gen_ai.conversation.id",
    "session.id",
    "traceloop.association.properties.session_id",
    "langfuse.session.id",
    "langsmith.metadata.session_id",
    "langsmith.metadata.thread_id",
    "langsmith.metadata.conversation_id",
    "ai.telemetry.metadata.sessionId",
    "ai.telemetry.metadata.session_id",
    "ai.telemetry.metadata.conversationId",
    "ai.telemetry.metadata.threadId",
    "ai.telemetry.metadata.chatId",
)
COMPLETION_KEYS = ("gen_ai.response.id", "ai.response.id")
VERSION_KEYS = (
    "gen_ai.response.model",
    "ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "langfuse.observation.model.name",
    "ai.model.id",
)


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """What a span has besides its messages."""

    conversation_id: str
    user_id: str
    model_version: str = ""
    completion_id: str = ""

    @property
    def known_user_id(self) -> str:
        """Empty if nobody is named."""
        return "" if self.user_id == nobody(self.conversation_id) else self.user_id


def facts_of(
    attributes: Mapping[str, Any], resource: Mapping[str, Any], trace_id: str
) -> SpanFacts:
    """InvalidArgument if nothing identifies the conversation."""
    conversation = named((attributes,), CONVERSATION_KEYS, conversation_id_of) or trace_id
    if not conversation:
        raise InvalidArgument(
            "the conversation is unknown: set gen_ai.conversation.id, or send a trace id",
            reason="MISSING_ATTRIBUTE",
            field="gen_ai.conversation.id",
        )
    return SpanFacts(
        conversation_id=conversation,
        user_id=named((attributes, resource), USER_KEYS, user_id_of) or nobody(conversation),
        model_version=named((attributes,), VERSION_KEYS, model_id_of),
        completion_id=named((attributes,), COMPLETION_KEYS, completion_id_of),
    )


def named(
    attributes: Sequence[Mapping[str, Any]], keys: Sequence[str], id_of: Callable[[object], str]
) -> str:
    """The id by the first of the keys that names something, looked up in each of `attributes` in turn."""
    found = (id_of(held.get(key)) for held in attributes for key in keys)
    return next((one for one in found if one), "")


def nobody(conversation: str) -> str:
    """An anonymous user for each conversation."""
    return f"anonymous-{stable_id(CHANNEL, conversation, length=16)}"
