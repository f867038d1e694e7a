"""What is kept of an exchange: turns for the log, and links for the calls that continue from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from services.gateway.app.linking import Linked, Linker
from services.gateway.app.recorder import Recorder
from services.gateway.domain.answers import Answer, answer_turns
from services.gateway.domain.chat import Chat, asked_turns
from services.gateway.domain.policies import Chosen
from services.gateway.domain.stored import stored_fields
from shared.language.messages import Message
from shared.language.turns import Turn

_CHANNEL = "openai"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A chat while it is answered: as it came, its position in a conversation, and who answers it. `composed`:
    the served name of the weights that do, where the version is a composition; `sent`: what they are asked."""

    chat: Chat
    linked: Linked
    body: Mapping[str, Any]
    chosen: Chosen
    began: datetime
    composed: str = ""
    sent: Mapping[str, Any] = field(default_factory=dict)


class ExchangeLog:
    """`log_unstored`: whether exchanges with `store: false` are logged anyway."""

    def __init__(
        self,
        recorder: Recorder,
        linker: Linker,
        clock: Callable[[], datetime],
        *,
        log_unstored: bool = False,
    ) -> None:
        self._recorder, self._linker, self._clock = recorder, linker, clock
        self._log_unstored = log_unstored

    def record(self, exchange: Exchange, answer: Answer, aborted: str) -> None:
        """`aborted`: which side broke off, "client" or "upstream"; empty if neither did. Never raises."""
        if exchange.chat.store is False and not self._log_unstored:
            self._recorder.leave_out("STORE_FALSE")
            return
        chat, linked = exchange.chat, exchange.linked
        asked = asked_turns(
            chat, linked.conversation_id, linked.position,
            channel=_CHANNEL, time=exchange.began, policy=exchange.chosen.policy,
        )  # fmt: skip
        answers = answer_turns(answer, self._first(exchange), aborted)
        if chat.store and answers:
            said, first = answers[0]
            fields = stored_fields(exchange.body, chat.metadata, answer.usage)
            answers[0] = (said, replace(first, metadata={**first.metadata, **fields}))
        if linked.position.signal == "regeneration":
            answers = [(said, self._sibling(exchange, turn)) for said, turn in answers]
        kept = self._recorder.record([*asked, *(turn for _, turn in answers)])
        if kept:
            self._linker.remember(linked, kept, [said for said, _ in answers])

    def _first(self, exchange: Exchange) -> Turn:
        """What all answers of the exchange share."""
        chat, conversation_id = exchange.chat, exchange.linked.conversation_id
        return Turn(
            tenant=chat.tenant,
            conversation_id=conversation_id,
            index=len(chat.messages) + exchange.linked.position.offset,
            message=Message("assistant", ()),
            user_id=chat.user_id(conversation_id),
            create_time=self._clock(),
            model_version=exchange.chosen.version.name,
            channel=_CHANNEL,
            policy=exchange.chosen.policy,
            metadata={"served_name": exchange.composed} if exchange.composed else {},
        )

    def _sibling(self, exchange: Exchange, turn: Turn) -> Turn:
        position = exchange.linked.position
        completion_id = turn.completion_id or turn.metadata.get("choice_of", "")
        return replace(
            turn,
            turn_id=self._linker.sibling_id(
                exchange.linked, turn.index, turn.message, completion_id
            ),
            signal=position.signal,
            replaces_turn_id=position.replaces_turn_id,
        )
