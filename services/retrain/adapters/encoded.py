"""What is trained on, as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from shared.language.groups import UNKNOWN


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and one or several answers to it; only the answers are trained on. `is_fixed`: only what the
    untrained policy says of them counts."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """Another answer to a pair's prompt. `reward_margin`: its reward minus that of the rejected answer."""

    answer: tuple[int, ...]
    reward_margin: float


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Both answers follow the same prompt. `judged`: the prompt with what its user said of the rejected
    answer in it, as what will be said again; `hinted`: the same, as what need not be. Both are empty where
    nothing was said. `reward_margin`: by how much a reward model prefers the chosen answer. `end`: the token
    that ends an answer, unless it was cut. `group`: the learnt one of its user."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    judged: tuple[int, ...] = ()
    hinted: tuple[int, ...] = ()
    reward_margin: float = 0.0
    end: int | None = None
    group: str = UNKNOWN
    samples: tuple[EncodedSample, ...] = ()
