"""OpenAI chat bodies: who speaks, in which conversation, and which turns are made of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.gateway.domain.linking import Call
from services.gateway.domain.placing import CallPosition
from shared.language.errors import InvalidArgument
from shared.language.identifiers import conversation_id_of, stable_id, user_id_of
from shared.language.messages import Message
from shared.language.openai_messages import has_content, read_message
from shared.language.policies import policy_of_version
from shared.language.turns import Turn

# OpenAI's names for who speaks; the second takes the place of the first. `prompt_cache_key` names nobody.
_USER_FIELDS = ("user", "safety_identifier")
_USER_HEADER, _CONVERSATION_HEADER = "x-trimtab-user", "x-trimtab-conversation"


@dataclass(frozen=True, slots=True)
class Chat:
    """The part of a request that the gateway needs to understand."""

    tenant: str
    key_digest: str
    # Who speaks, and in which conversation; empty if the request does not say.
    speaker: str
    named_conversation: str
    # Without system messages.
    messages: tuple[Message, ...]
    metadata: Mapping[str, str]
    # OpenAI's `store`; None if it was not given.
    store: bool | None = None
    # The client library repeats a call that was not answered.
    repeated: bool = False
    # The text of the system messages, and the client's own name for the request.
    instructions: str = ""
    request_id: str = ""
    # The model that was asked for.
    model: str = ""

    @property
    def call(self) -> Call:
        return Call(
            tenant=self.tenant,
            speaker=self.speaker,
            conversation=self.named_conversation,
            messages=self.messages,
            instructions=self.instructions,
            request_id=self.request_id,
            repeated=self.repeated,
            policy=policy_of_version(self.model) or self.model,
        )

    def user_id(self, conversation_id: str) -> str:
        """The speaker, or an anonymous one for each conversation."""
        if self.speaker:
            return self.speaker
        return f"anonymous-{stable_id(self.key_digest, conversation_id, length=16)}"


def read_chat(
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    tenant: str,
    key_digest: str,
    user_headers: Sequence[str] = (),
) -> Chat:
    """InvalidArgument names the field that is wrong. `user_headers`: those of other applications that name the
    user, in the order in which they are believed. Names of users and conversations are never wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages must be a list with at least one message", "messages")
    spoken = [read_message(one, f"messages[{place}]") for place, one in enumerate(messages)]
    turns = tuple(message for message in spoken if message.role != "system")
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    named = (header_text(headers, _CONVERSATION_HEADER), metadata.get("conversation_id"))
    store = body.get("store")
    if store is not None and not isinstance(store, bool):
        raise _wrong("store must be true or false", "store")
    return Chat(
        tenant=tenant,
        key_digest=key_digest,
        speaker=speaker_of(body, headers, user_headers),
        named_conversation=_first(map(conversation_id_of, named)),
        messages=turns,
        metadata=_texts(metadata),
        store=store,
        repeated=headers.get("x-stainless-retry-count", "0") != "0",
        instructions=instructions_in(spoken),
        request_id=headers.get("idempotency-key") or headers.get("x-request-id", ""),
        model=_text(body.get("model")),
    )


def asked_turns(
    chat: Chat,
    conversation_id: str,
    position: CallPosition,
    *,
    channel: str,
    time: datetime,
    policy: str,
) -> list[Turn]:
    """The messages that the conversation does not have yet, as turns of the policy that answers now. An earlier
    answer has its version, that version's policy and its completion's id as far as they are known; if it was
    logged when it was made, that record stays."""
    last = len(chat.messages) - 1
    user_id = chat.user_id(conversation_id)
    turns = []
    for place, message in enumerate(chat.messages):
        if place < position.told or not has_content(message):
            continue
        made = position.answered.get(place)
        version = made.model_version if made else ""
        turns.append(
            Turn(
                tenant=chat.tenant,
                conversation_id=conversation_id,
                index=place + position.offset,
                message=message,
                user_id=user_id,
                create_time=time,
                channel=channel,
                policy=policy_of_version(version) or policy,
                model_version=version,
                completion_id=made.completion_id if made else "",
                metadata=chat.metadata if place == last else {},
                signal=position.signal if place == last else "",
                replaces_turn_id=position.replaces_turn_id if place == last else "",
            )
        )
    return turns


def instructions_in(messages: Sequence[Message]) -> str:
    return "\n".join(message.text for message in messages if message.role == "system")


def with_text_user(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with a user that model servers accept: they refuse one that is not a string."""
    said = body.get("user")
    if said is None or isinstance(said, str):
        return body
    rest = {name: value for name, value in body.items() if name != "user"}
    return {**rest, "user": text} if (text := _text(said)) else rest


def speaker_of(
    body: Mapping[str, Any], headers: Mapping[str, str], user_headers: Sequence[str]
) -> str:
    """The id of the first that names somebody; empty if none does."""
    fields = (body.get(name) for name in _USER_FIELDS)
    given = (header_text(headers, name) for name in (_USER_HEADER, *user_headers))
    return _first(map(user_id_of, (*fields, *given)))


def header_text(headers: Mapping[str, str], name: str) -> str:
    """A header as its sender wrote it; empty if it is not there. Frameworks read headers as Latin-1, but
    applications send UTF-8: a name in a header is the same name as in a body."""
    said = headers.get(name, "")
    if said.isascii():
        return said
    try:
        return said.encode("latin-1").decode()
    except UnicodeError:
        return said  # it was Latin-1 after all


def _first(ids: Iterable[str]) -> str:
    return next((one for one in ids if one), "")


def _text(said: object) -> str:
    """A string as it is and a number by its digits. Anything else names nothing."""
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        return ""
    return str(said)


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): value for name, value in metadata.items() if isinstance(value, str)}


def _wrong(message: str, name: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_BODY", field=name)
