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
    answer = _greedy(policy, prompt, end)
    whole = (*prompt, *answer)
    ours = _of_answer(policy, whole, len(answer))
    with policy.peft.disable_adapter():
        base = _of_answer(policy, whole, len(answer))
    return KnownAnswer(prompt, answer, ours, base)


def _greedy(policy: LoraPolicy, prompt: tuple[int, ...], end: int | None) -> tuple[int, ...]:
    """Each token goes through the model once: what was computed of those before it is kept."""
    answer, kept, new = list[int](), None, prompt
    while len(answer) < MOST_TOKENS and (not answer or answer[-1] != end):
        said = policy.peft(
            input_ids=_batch(policy, new), past_key_values=kept, use_cache=True, logits_to_keep=1
        )
        kept, new = said.past_key_values, (int(said.logits[0, -1].argmax()),)
        answer += new
    return tuple(answer)


def _of_answer(policy: LoraPolicy, whole: tuple[int, ...], count: int) -> tuple[float, ...]:
    """The log-probability of each of the last `count` tokens, in float32, rounded."""
    # Position t predicts token t + 1.
    logits = policy.peft(input_ids=_batch(policy, whole), logits_to_keep=count + 1).logits[0, :-1]
    said = torch.tensor(whole[-count:], device=logits.device)
    chosen = torch.log_softmax(logits.float(), dim=1).gather(1, said[:, None])[:, 0]
    return tuple(round(one, 4) for one in chosen.tolist())


def _batch(policy: LoraPolicy, ids: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([ids], device=policy.device)
