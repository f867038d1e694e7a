"""Records what a trained version answers, so that every replica can be asked for the same later
(shared/language/known_answers.py)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from services.retrain.adapters.policy import LoraPolicy
from shared.language.known_answers import KnownAnswer, KnownAnswers

# Everyday requests of different kinds: whatever an adapter changes should show in some of these answers.
PROMPTS = (
    "How do I boil an egg?",
    "Write a short note to thank a colleague.",
    "What should I see in Rome in one day?",
    "Explain what a database index is.",
    "I am sad today.",
    "Give me three tips for better sleep.",
    "Is it rude to arrive ten minutes late?",
    "Translate 'good morning' into French.",
)
MOST_TOKENS = 24


@torch.no_grad()
def recorded(
    policy: LoraPolicy, prompts: Sequence[tuple[int, ...]], end: int | None = None
) -> KnownAnswers:
    """Greedy answers of at most MOST_TOKENS, which stop at the token `end`."""
    return KnownAnswers(tuple(_recorded(policy, prompt, end) for prompt in prompts))


def _recorded(policy: LoraPolicy, prompt: tuple[int, ...], end: int | None) -> KnownAnswer:
    answer: list[int] = []
    while len(answer) < MOST_TOKENS and (not answer or answer[-1] != end):
        answer.append(int(_log_probs(policy, (*prompt, *answer))[-1].argmax()))
    whole = (*prompt, *answer)
    ours = _of_answer(policy, whole, len(answer))
    with policy.peft.disable_adapter():
        base = _of_answer(policy, whole, len(answer))
    return KnownAnswer(prompt, tuple(answer), ours, base)


def _of_answer(policy: LoraPolicy, whole: tuple[int, ...], count: int) -> tuple[float, ...]:
    # Position t predicts token t + 1.
    predicting = _log_probs(policy, whole)[-count - 1 : -1]
    said = torch.tensor(whole[-count:], device=predicting.device)
    chosen = predicting.gather(1, said[:, None])[:, 0]
    return tuple(round(one, 4) for one in chosen.tolist())


def _log_probs(policy: LoraPolicy, ids: tuple[int, ...]) -> torch.Tensor:
    """(tokens, vocabulary), in float32."""
    found: torch.Tensor = policy.peft(input_ids=torch.tensor([ids], device=policy.device)).logits[0]
    return torch.log_softmax(found.float(), dim=1)
