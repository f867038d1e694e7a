"""How many tokens a prompt has, as the model server counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.app.groups import Groups, composed_for
from services.gateway.app.rollouts import RolloutCache, chosen_for
from services.gateway.domain.chat import speaker_of
from services.gateway.ports import Upstream
from shared.language.errors import Unavailable
from shared.language.json_text import decode, encode

_OK = 200
# What of a chat is part of the prompt.
_OF_PROMPT = ("messages", "tools", "chat_template", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class NotCounted:
    """The model server's refusal, as it came."""

    status: int
    body: bytes


class TokenCounting:
    """`tokenizers`: the model servers' calls of `/tokenize`."""

    def __init__(
        self,
        rollouts: RolloutCache,
        tokenizers: Upstream,
        groups: Groups,
        user_headers: Sequence[str] = (),
    ) -> None:
        self._rollouts, self._tokenizers = rollouts, tokenizers
        self._groups, self._user_headers = groups, user_headers

    async def count(
        self, chat: Mapping[str, Any], headers: Mapping[str, str], tenant: str
    ) -> int | NotCounted:
        """`chat`: the body of a chat; by the weights that would answer its user. InvalidArgument and NotFound
        about the model; Unavailable."""
        speaker = speaker_of(chat, headers, self._user_headers)
        version = chosen_for(self._rollouts, chat.get("model"), tenant, speaker).version
        served_name = composed_for(version, self._groups, tenant, speaker) or version.served_name
        asked = {name: chat[name] for name in _OF_PROMPT if name in chat}
        reply = await self._tokenizers.send(
            encode({**asked, "model": served_name}), tenant, speaker
        )
        try:
            content = await reply.read()
        finally:
            await reply.close()
        if reply.status != _OK:
            return NotCounted(reply.status, content)
        return _count_in(content)


def _count_in(content: bytes) -> int:
    try:
        return int(decode(content)["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            "the model server's answer is not a count of tokens",
            reason="UPSTREAM_BROKEN",
            retry_after_s=1.0,
        ) from error
