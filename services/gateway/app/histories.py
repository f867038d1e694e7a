"""The conversation up to an answer, for calls that continue from it by its id (`previous_response_id`).

The newest are in memory, as they came. Older ones, and those that another gateway answered, are read from what
interaction stored, where they appear a moment after the answer, redacted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from services.gateway.domain.stored import INPUT_SYSTEM, StoredCompletion, chat_message
from services.gateway.ports import StoredCompletions
from shared.language.errors import InvalidArgument, NotFound
from shared.language.identifiers import user_id_of
from shared.language.json_text import encode
from shared.language.turns import Turn

# How much is kept in memory, in bytes, and for how long.
_MOST_BYTES, _KEPT_S = 64_000_000, 3600.0
# A user without a name; it is a different one in each conversation.
_ANONYMOUS = "anonymous-"
# The pause before the next look for an answer that is not stored yet; it doubles.
_FIRST_PAUSE_S = 0.1

ChatMessage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """`messages`: chat messages, the answer last, without a call's `instructions`. `user`: who spoke, if named.
    `conversation`: its id if the messages are not just as they came, so that it cannot be found by them."""

    messages: tuple[ChatMessage, ...]
    user: str = ""
    conversation: str = ""
    size: int = 0

    @property
    def answer(self) -> ChatMessage:
        return self.messages[-1]


@dataclass(frozen=True, slots=True)
class _Kept:
    history: History
    conversation_id: str
    at: float


class Histories:
    """Used on one event loop. `within_s`: how long an answer that is not in memory may take to be stored."""

    def __init__(
        self,
        stored: StoredCompletions,
        clock: Callable[[], float],
        *,
        most_bytes: int = _MOST_BYTES,
        within_s: float = 3.0,
    ) -> None:
        """`clock` in seconds, from any starting point."""
        self._stored, self._clock = stored, clock
        self._most_bytes, self._within_s = most_bytes, within_s
        # By tenant, the oldest first.
        self._kept: dict[str, OrderedDict[str, _Kept]] = {}
        self._sizes: dict[str, int] = {}

    async def of(self, tenant: str, completion_id: str, field: str) -> History:
        """InvalidArgument naming `field` if it is not known (PREVIOUS_RESPONSE_NOT_FOUND) or cannot be
        repeated; Unavailable if interaction is."""
        self._drop_old(tenant)
        mine = self._kept.get(tenant)
        if mine and (kept := mine.get(completion_id)):
            return kept.history
        try:
            return await self._stored_history(tenant, completion_id)
        except NotFound as error:
            raise InvalidArgument(
                f"the response {completion_id[:80]!r} is not known: it was not stored, or not by this tenant",
                reason="PREVIOUS_RESPONSE_NOT_FOUND",
                field=field,
            ) from error

    def remember(
        self, tenant: str, completion_id: str, conversation_id: str, history: History
    ) -> None:
        mine = self._kept.setdefault(tenant, OrderedDict())
        mine[completion_id] = _Kept(history, conversation_id, self._clock())
        self._sizes[tenant] = self._sizes.get(tenant, 0) + history.size
        self._drop_old(tenant)
        while sum(self._sizes.values()) > self._most_bytes:
            most = max(self._sizes, key=self._sizes.__getitem__)
            self._drop(most, next(iter(self._kept[most])))

    def forget(self, tenant: str, conversation_ids: Set[str]) -> None:
        """For a user who was erased."""
        self._drop_all(tenant, lambda one: one.conversation_id in conversation_ids)

    def forget_user(self, tenant: str, user_id: str) -> None:
        """Likewise, also of conversations that interaction does not have yet."""
        self._drop_all(tenant, lambda one: user_id_of(one.history.user) == user_id)

    def _drop_all(self, tenant: str, which: Callable[[_Kept], bool]) -> None:
        mine = self._kept.get(tenant, OrderedDict())
        for name in [name for name, one in mine.items() if which(one)]:
            self._drop(tenant, name)

    def _drop_old(self, tenant: str) -> None:
        mine, oldest = self._kept.get(tenant, OrderedDict()), self._clock() - _KEPT_S
        while mine and next(iter(mine.values())).at < oldest:
            self._drop(tenant, next(iter(mine)))

    def _drop(self, tenant: str, completion_id: str) -> None:
        self._sizes[tenant] -= self._kept[tenant].pop(completion_id).history.size
        if not self._kept[tenant]:
            del self._kept[tenant], self._sizes[tenant]

    async def _stored_history(self, tenant: str, completion_id: str) -> History:
        completion = await self._once_stored(tenant, completion_id)
        turns = await self._stored.messages(tenant, completion_id)
        return _history(completion, turns)

    async def _once_stored(self, tenant: str, completion_id: str) -> StoredCompletion:
        """NotFound if it still is not when the time is over."""
        deadline, pause_s = self._clock() + self._within_s, _FIRST_PAUSE_S
        while True:
            try:
                return await self._stored.get(tenant, completion_id)
            except NotFound:
                if self._clock() >= deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s *= 2


def _history(completion: StoredCompletion, turns: list[Turn]) -> History:
    answer = completion.choices[0]
    system = completion.request.get(INPUT_SYSTEM)
    said = [chat_message(turn.message) for turn in (*turns, answer)]
    messages = (*(system if isinstance(system, list) else ()), *said)
    return History(
        messages=messages,
        user="" if answer.user_id.startswith(_ANONYMOUS) else answer.user_id,
        conversation=answer.conversation_id,
        size=len(encode(messages)),
    )
