"""Pairs as token ids, in the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from services.retrain.adapters.policy import Encoded
from services.retrain.adapters.training import EncodedPair
from services.retrain.domain.training import has_persona
from shared.language.messages import Message, openai_messages, with_persona
from shared.language.pairs import Pair


class ChatEncoder:
    """Prompts are cut at their beginning, answers at their end; a cut answer has no end token."""

    def __init__(self, tokenizer: Any, prompt_tokens: int = 640, answer_tokens: int = 320) -> None:
        self._tokenizer = tokenizer
        self._prompt_tokens, self._answer_tokens = prompt_tokens, answer_tokens

    def encode(self, pair: Pair, persona_share: float, seed: int) -> EncodedPair:
        persona = pair.persona if has_persona(pair, persona_share, seed) else ""
        prompt = self._prompt(with_persona(pair.prompt, persona))
        return EncodedPair(
            Encoded(prompt, self._answer(pair.chosen)), Encoded(prompt, self._answer(pair.rejected))
        )

    def _prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        text = self._tokenizer.apply_chat_template(
            openai_messages(list(messages)), add_generation_prompt=True, tokenize=False
        )
        return tuple(self._ids(text)[-self._prompt_tokens :])

    def _answer(self, message: Message) -> tuple[int, ...]:
        ids = [*self._ids(message.text.strip()), self._tokenizer.eos_token_id]
        return tuple(ids[: self._answer_tokens])

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def load_tokenizer(path: Path) -> Any:
    return AutoTokenizer.from_pretrained(str(path), local_files_only=True)
