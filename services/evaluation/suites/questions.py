"""The prompts that suites share, and their answers, each requested once per evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from services.evaluation.domain import Prompt, Request, Version, sampled
from services.evaluation.ports import Bench, Sampling
from shared.language.batches import batches
from shared.language.identifiers import stable_id
from shared.language.messages import Message, text_message, with_instruction

# How many answers are requested and stored at a time.
_CHUNK = 48


def shipped(file_name: str) -> list[dict[str, str]]:
    """The lines of a .jsonl file in this folder."""
    text = files(__package__).joinpath(file_name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def prompts(request: Request, bench: Bench) -> list[Prompt]:
    """Prompts of held-out users, filled up with everyday questions as far as available. The same request
    always gives the same prompts."""
    limits = bench.limits.at(request.confidence)
    unique = {pair.prompt[-1].text: pair for pair in reversed(request.pairs) if pair.prompt}
    most = limits.prompts - round(limits.prompts * limits.everyday_share)
    held_out = [Prompt(p.prompt, p.user_id, p.groups) for p in sampled(list(unique.values()), most)]
    return [*held_out, *everyday()[: limits.prompts - len(held_out)]]


def everyday() -> list[Prompt]:
    """Questions of the product's own."""
    return [Prompt((text_message("user", row["prompt"]),)) for row in shipped("everyday.jsonl")]


def answers(
    request: Request,
    bench: Bench,
    version: Version,
    asked: Sequence[Sequence[Message]],
    sampling: Sampling,
) -> list[str]:
    """One answer per prompt, sampled for this evaluation. Answers it already has, from another suite or
    from before a kill, are not requested again."""
    keys = [_key(messages, sampling) for messages in asked]
    found = bench.answers.known(request.evaluation, version.speaker, keys)
    missing = [(k, m) for k, m in zip(keys, asked, strict=True) if k not in found]
    for chunk in batches(missing, _CHUNK):
        told = [with_instruction(messages, version.instruction) for _, messages in chunk]
        texts = bench.policy.answer(version.served_name, told, sampling)
        fresh = {key: text for (key, _), text in zip(chunk, texts, strict=True)}
        bench.answers.keep(request.evaluation, version.speaker, fresh)
        found |= fresh
        bench.tell(f"{len(found)} of {len(set(keys))} answers of {version.name}")
    return [found[key] for key in keys]


def answers_to(
    request: Request,
    bench: Bench,
    version: Version,
    asked: Sequence[Prompt],
    sampling: Sampling,
) -> list[str]:
    """One answer per prompt, each by the weights that answer its user."""
    found: dict[int, str] = {}
    for served in version.all_served:
        mine = [n for n, one in enumerate(asked) if version.served_to(one.groups) == served]
        spoken = [asked[n].messages for n in mine]
        texts = answers(request, bench, version.as_served(served), spoken, sampling)
        found.update(zip(mine, texts, strict=True))
    return [found[n] for n in range(len(asked))]


def _key(messages: Sequence[Message], sampling: Sampling) -> str:
    spoken = [part for message in messages for part in (message.role, message.text)]
    return stable_id(repr(sampling), *spoken)
