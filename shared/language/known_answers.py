"""What a version answers, as its trainer recorded it, and whether a replica answers the same.

A known-answer test, as cryptographic modules have one: a fixed set of prompts, the version's greedy answers to
them as token ids, and the log-probability of each of these tokens, once with the adapter and once by the base
model alone. A replica is asked for the same log-probabilities: the answer is part of its prompt, so it makes up
nothing that could drift. The distance to either record is the mean absolute difference, in nats a token:

- near the adapter's record: it serves what was trained;
- near the base model's: it serves the base model under the version's name;
- near neither: another adapter, or a stale one.

A tolerance is needed for what another kernel and bfloat16 make of the same weights: 0.02 to 0.03 between
torch and vLLM on a CPU; the base model was 0.28 and 0.47 away, an adapter for other people's same wish 0.083.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

FORMAT = 1
# Beside an adapter's weights.
KNOWN_ANSWERS = "known_answers.json"


class Serves(StrEnum):
    """What a replica serves under a version's name. UNPROVED: nothing was recorded, or the replica does not
    tell log-probabilities of prompts. NOTHING: it does not know the name."""

    AS_TRAINED = "as_trained"
    BASE_MODEL = "base_model"
    SOMETHING_ELSE = "something_else"
    UNPROVED = "unproved"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """`log_probs` and `of_base`: of each token of `answer`, in nats."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    log_probs: tuple[float, ...]
    of_base: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    answers: tuple[KnownAnswer, ...]

    @property
    def apart(self) -> float:
        """How far the adapter is from the base model, in nats a token."""
        return _distance([one.log_probs for one in self.answers], self._of_base)

    @property
    def _of_base(self) -> list[tuple[float, ...]]:
        return [one.of_base for one in self.answers]

    def compared(self, seen: Sequence[Sequence[float]], tolerance: float) -> Compared:
        """With the log-probabilities of the same tokens as a replica has them; `tolerance` in nats a token."""
        trained = _distance(seen, [one.log_probs for one in self.answers])
        base = _distance(seen, self._of_base)
        if trained <= tolerance:
            return Compared(Serves.AS_TRAINED, trained, base)
        serves = Serves.BASE_MODEL if base <= tolerance else Serves.SOMETHING_ELSE
        return Compared(serves, trained, base)


@dataclass(frozen=True, slots=True)
class Compared:
    """Distances from what was recorded, in nats a token."""

    serves: Serves
    from_trained: float
    from_base: float


def dump(known: KnownAnswers) -> str:
    return json.dumps({"format": FORMAT, **asdict(known)})


def load(text: str) -> KnownAnswers:
    """The inverse of `dump`. Raises ValueError, saying what is wrong."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, not {FORMAT}")
        answers = tuple(_answer(one) for one in content["answers"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no known answers: {error!r}") from error
    if not answers:
        raise ValueError("there is no answer in it")
    return KnownAnswers(answers)


def _answer(content: dict[str, Any]) -> KnownAnswer:
    prompt, answer = (tuple(map(int, content[name])) for name in ("prompt", "answer"))
    log_probs, of_base = (tuple(map(float, content[name])) for name in ("log_probs", "of_base"))
    if not prompt or not len(answer) == len(log_probs) == len(of_base) > 0:
        raise ValueError("an answer needs a prompt, and a log-probability for each of its tokens")
    if not all(map(isfinite, (*log_probs, *of_base))):
        raise ValueError("a log-probability is not finite")
    return KnownAnswer(prompt, answer, log_probs, of_base)


def _distance(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The mean over all tokens."""
    differences = [
        abs(a - b)
        for ours, theirs in zip(one, other, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return sum(differences) / len(differences)
