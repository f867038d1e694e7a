"""The human chats of the package chitchat-dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.cli.domain import Json


def chitchat(raw: Json) -> Iterator[tuple[str, Json]]:
    """The chats of the package chitchat-dataset in OpenAI's format. The one who wrote second is taken as the
    assistant. What one person wrote in a row becomes one message. Unanswered chats are left out."""
    for name, chat in raw.items():
        said = [one for group in chat["messages"] for one in group if one["text"].strip()]
        user = said[0]["sender"] if said else ""
        messages = _merged(said, user)
        if len(messages) > 1:
            yield name, {"conversation_id": name, "user": user, "messages": messages}


def _merged(said: Iterable[Json], user: str) -> list[Json]:
    messages: list[Json] = []
    for one in said:
        role = "user" if one["sender"] == user else "assistant"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{one['text'].strip()}"
            continue
        message = {"role": role, "content": one["text"].strip(), "created": one["timestamp"]}
        if role == "assistant":
            message["model_version"] = "human-chat"
        messages.append(message)
    return messages
