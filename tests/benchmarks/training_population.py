"""What each shipped recipe makes of the demo's wish, and what that costs: `make bench-training OPTIONS="--only
population"`. One JSON line a recipe, over all seeds (--seeds); the base model first.

training.population.RECIPE  of greedy answers to requests that were not trained on: how many have more than 35
                            words (`broken`) and how many are sane (services/evaluation/suites/form.py), with
                            95% intervals, and the median of words; of the base model's own long answers to
                            other requests, what their tokens lose in nats (`lost`, as objectives/kept.py
                            counts it): what it costs whoever was content; steps and seconds

Pairs are of people who want short answers, as in people_kept.py. Each says what the demo's users say, and has
two more samples, of one sentence and of at most 70 words. The reward falls by 1 for every 20 words above 35. As
nobody else has pairs, maxmin and panacea are dpo here.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from services.evaluation.suites.form import is_sane
from services.retrain.adapters.chat_encoder import ChatEncoder
from services.retrain.adapters.encoded import Group
from services.retrain.adapters.objectives.kept import lost
from services.retrain.adapters.objectives.rows import Scored
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.adapters.training_stages import train_in_stages
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.rules import Rules
from services.retrain.domain.tags import as_trained
from services.retrain.domain.training import Unsuitable
from shared.language.messages import text_message
from shared.language.pairs import Pair, Sampled
from shared.statistics.intervals import wilson
from tests.benchmarks.people_kept import (
    MOST_TOKENS,
    MOST_WORDS,
    Model,
    Trial,
    first_sentences,
    sentences,
)
from tests.benchmarks.training_quality import tell

COMPLAINT = "That's too long. Please answer in at most 35 words."
_LONGER, _WORDS_A_POINT = 70, 20


def measure(threads: int, seeds: int) -> Iterator[dict[str, Any]]:
    """`threads`: of torch."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        trials = [Population(Trial(Path(folder) / str(seed), seed)) for seed in range(1, seeds + 1)]
        untrained = [one.figures(one.trial.untrained()) for one in trials]
        yield {"name": "training.population.base", **together(untrained)}
        for name, recipe in RecipeFolders().all().items():
            found = [one.of(recipe) for one in trials]
            yield {"name": f"training.population.{name}", **together(found)}


@dataclass(frozen=True, slots=True)
class Figures:
    words: Sequence[int] = ()
    sane: Sequence[bool] = ()
    lost: Sequence[float] = ()
    steps: int = 0
    seconds: float = 0.0
    left_out: str = ""


def together(found: Sequence[Figures]) -> dict[str, Any]:
    measured = [one for one in found if not one.left_out]
    if not measured:
        return {"left_out": found[0].left_out}
    words = [count for one in measured for count in one.words]
    sane = [flag for one in measured for flag in one.sane]
    costs = [value for one in measured for value in one.lost]
    return {
        "broken": _rate(sum(count > MOST_WORDS for count in words), len(words)),
        "sane": _rate(sum(sane), len(sane)),
        "median_words": median(words),
        "lost": round(mean(costs), 3),
        "steps": [one.steps for one in measured],
        "seconds": [round(one.seconds) for one in measured],
        "seeds": len(measured),
    }


def _rate(count: int, of: int) -> dict[str, float]:
    low, high = wilson(count, of)
    return {"count": count, "of": of, "low": round(low, 3), "high": round(high, 3)}


@dataclass
class Population:
    trial: Trial
    pairs: list[Pair] = field(default_factory=list)
    # Long answers, and what the base model says of each of their tokens.
    content: list[tuple[Group, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        base = self.trial.untrained()
        self.pairs = list(map(_sampled, self.trial.complaints(base)))
        encoder = ChatEncoder(base.tokenizer)
        groups = [encoder.encode_praised(one) for one in self.trial.content(base)]
        self.content = [(one, base.policy.prepare(one).references[0]) for one in groups]

    def of(self, recipe: Recipe) -> Figures:
        plan = replace(recipe.applied(Rules()).plan, seed=self.trial.seed)
        model, began = self.trial.untrained(), time.monotonic()
        encoder = ChatEncoder(model.tokenizer, plan.prompt_tokens, plan.answer_tokens)
        encoded = encoder.encode_all(as_trained(self.pairs, plan), plan.persona_share, plan.seed)
        try:
            with tempfile.TemporaryDirectory() as folder:
                kept = self.trial.references
                steps = train_in_stages(model.policy, encoded, plan, Path(folder), kept, tell)
        except Unsuitable as why:
            return Figures(left_out=why.message)
        seconds = time.monotonic() - began
        return replace(self.figures(model), steps=len(steps), seconds=seconds)

    def figures(self, model: Model) -> Figures:
        answers = model.answers(self.trial.asked)
        return Figures(
            words=[len(one.split()) for one in answers],
            sane=[is_sane(one, MOST_TOKENS) for one in answers],
            lost=list(self._lost(model)),
        )

    @torch.no_grad()
    def _lost(self, model: Model) -> Iterator[float]:
        for group, by_base in self.content:
            (now,) = model.policy.log_probabilities(model.policy.prepare(group))
            yield lost(Scored(now, by_base)).item()


def _sampled(pair: Pair) -> Pair:
    """With the complaint, and two other answers."""
    worst = _reward(pair.rejected.text)
    one_sentence, *_ = sentences(pair.rejected.text)
    others = {one_sentence, first_sentences(pair.rejected.text, _LONGER)}
    samples = tuple(
        Sampled(text_message("assistant", one), _reward(one) - worst)
        for one in sorted(others - {pair.chosen.text, pair.rejected.text})
    )
    margin = _reward(pair.chosen.text) - worst
    return replace(pair, feedback_text=COMPLAINT, samples=samples, reward_margin=margin)


def _reward(text: str) -> float:
    return -max(0, len(text.split()) - MOST_WORDS) / _WORDS_A_POINT
