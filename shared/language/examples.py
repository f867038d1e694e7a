"""Answers of several versions to the same prompt, kept to be looked at side by side.

Only prompts that the product ships are kept, never a user's, and few of them: see `chosen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.language.identifiers import share_of

MOST_EXAMPLES = 8
_MOST_CHARACTERS = 1200
_SALT = "example"
CHOSEN_BY = (
    f"Of each suite's own prompts the {MOST_EXAMPLES} whose hash is smallest, whatever was answered: the"
    " same in every run. No prompt is a user's."
)


@dataclass(frozen=True, slots=True)
class Example:
    """`answers`: by version, in the order in which they are shown."""

    suite: str
    prompt: str
    answers: Mapping[str, str] = field(default_factory=dict)


def examples_of(
    suite: str, prompts: Sequence[str], answers: Mapping[str, Sequence[str]]
) -> tuple[Example, ...]:
    """The MOST_EXAMPLES prompts with the smallest hash, with each version's answer; `answers` has one a prompt.
    Answers are cut to 1,200 characters."""
    order = sorted(range(len(prompts)), key=lambda at: share_of(prompts[at], _SALT))
    return tuple(
        Example(suite, prompts[at], {name: _cut(texts[at]) for name, texts in answers.items()})
        for at in order[:MOST_EXAMPLES]
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
