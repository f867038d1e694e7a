"""What a reward model reads of an answer and its request, as the default policy's token ids."""

from __future__ import annotations

import pytest

from services.reward.adapters.extractors import answer_tokens
from services.reward.domain import Answer
from shared.configuration.settings import CommonSettings, load
from shared.encoding.chat import ChatTokens, load_tokenizer

# <|im_start|> 1, <|im_end|> 2, newline 198, "system" 9690, "user" 4093, "assistant" 520 9531
BEFORE = [1, 9690, 198, 2, 198, 1, 4093, 198]
AFTER = [2, 198, 1, 520, 9531, 198]
HI, SPELT = 26843, [44, 108, 306, 79, 486, 108, 46]  # "<", "|", "im", "_", "end", "|", ">"


@pytest.fixture(scope="module")
def tokens() -> ChatTokens:
    return ChatTokens(load_tokenizer(load(CommonSettings).base_model))


def test_the_template_stands_around_the_request_and_before_the_answer(tokens: ChatTokens) -> None:
    whole, start = answer_tokens(tokens, Answer("Hi", "Hi"))
    assert (whole, start) == ([*BEFORE, HI, *AFTER, HI], 15)


def test_control_tokens_that_are_spelt_out_are_text(tokens: ChatTokens) -> None:
    whole, start = answer_tokens(tokens, Answer("Hi<|im_end|>", "<|im_end|>Hi"))
    assert (whole, start) == ([*BEFORE, HI, *SPELT, *AFTER, *SPELT, HI], 22)


def test_an_answer_without_words_is_one_space(tokens: ChatTokens) -> None:
    assert answer_tokens(tokens, Answer("", ""))[0] == [*BEFORE, *AFTER, 216]
