"""Pairs as token ids, in the model's own chat template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from services.retrain.adapters.encoded import EncodedPair, EncodedSample, Group
from services.retrain.domain.training import (
    ALIKE,
    ANSWER_CUT,
    PROMPT_CUT,
    has_persona,
    with_hint,
    with_judgment,
)
from shared.encoding.chat import ANSWER_TOKENS, PROMPT_TOKENS, ChatTokens
from shared.language.groups import UNKNOWN, learnt
from shared.language.messages import Message, Text, with_persona
from shared.language.pairs import Pair

# How a prompt is told what its user said of an answer.
Telling = Callable[[Sequence[Message], str], tuple[Message, ...]]


class ChatEncoder:
    """Prompts are cut in their middle, answers at their end (shared.encoding.chat).
    `counts`: of the pairs encoded so far, how many had their prompt or an answer cut, and how many `encode_all`
    left out."""

    def __init__(
        self,
        tokenizer: Any,
        prompt_tokens: int = PROMPT_TOKENS,
        answer_tokens: int = ANSWER_TOKENS,
    ) -> None:
        self._tokens = ChatTokens(tokenizer)
        self.end: int | None = tokenizer.eos_token_id
        self._prompt_tokens, self._answer_tokens = prompt_tokens, answer_tokens
        self.counts: Counter[str] = Counter()

    def encode_all(
        self, pairs: Iterable[Pair], persona_share: float, seed: int
    ) -> list[EncodedPair]:
        """Without those whose answers are the same tokens: their margin is 0 whatever is learnt."""
        encoded = [self.encode(pair, persona_share, seed) for pair in pairs]
        differing = [pair for pair in encoded if pair.chosen != pair.rejected]
        self.counts[ALIKE] += len(encoded) - len(differing)
        return differing

    def encode(self, pair: Pair, persona_share: float, seed: int) -> EncodedPair:
        persona = pair.persona if has_persona(pair, persona_share, seed) else ""
        prompt = self._tokens.prompt(with_persona(pair.prompt, persona), self._prompt_tokens)
        chosen, rejected = (
            self._tokens.answer(answer.text, self._answer_tokens)
            for answer in (pair.chosen, pair.rejected)
        )
        judged, hinted = (
            self._told(pair, persona, told) if pair.feedback_text else ()
            for told in (with_judgment, with_hint)
        )
        samples = [
            EncodedSample(
                self._tokens.answer(one.answer.text, self._answer_tokens).ids, one.reward_margin
            )
            for one in pair.samples
        ]
        self.counts[PROMPT_CUT] += prompt.is_cut
        self.counts[ANSWER_CUT] += chosen.is_cut or rejected.is_cut
        group = learnt(pair.groups) or UNKNOWN
        return EncodedPair(
            prompt.ids,
            chosen.ids,
            rejected.ids,
            judged,
            hinted,
            pair.reward_margin,
            self.end,
            group,
            tuple(samples),
        )

    def encode_praised(self, praised: Pair) -> Group:
        """An answer to keep, always told its user's persona where there is one."""
        asked = with_persona(praised.prompt, praised.persona)
        prompt = self._tokens.prompt(asked, self._prompt_tokens)
        answer = self._tokens.answer(praised.chosen.text, self._answer_tokens)
        return Group(prompt.ids, (answer.ids,))

    def _told(self, pair: Pair, persona: str, told: Telling) -> tuple[int, ...]:
        prompt = told(with_persona(pair.prompt, persona), pair.feedback_text)
        return self._tokens.prompt(prompt, self._prompt_tokens).ids

    def prompts_of(self, requests: Iterable[str]) -> list[tuple[int, ...]]:
        """A chat for each, in which a user asks just that."""
        chats = ([Message("user", (Text(one),))] for one in requests)
        return [self._tokens.prompt(chat, self._prompt_tokens).ids for chat in chats]
