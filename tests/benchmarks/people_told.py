"""What can be chosen of one adapter after its training: how long its answers are, and whom it is for. One JSON
line a figure and a seed, and the trainings' steps on stderr.

people.told.brevity   of SmolLM2, and of the same trained by the recipe cpo on pairs of people who all want
                      short answers: to requests that it was not trained on, the median number of words without
                      a line about it and with each from <brevity: 1> to <brevity: 5>, and the rank correlation
                      (Spearman's) of level and brevity over all these answers
people.told.groups    of a training by the recipe panacea on as many pairs of people who want short answers as
                      of people who want long ones: the median number of words for each weighing of the two
                      groups, that of the first named, and the one that it hands over

Requests, pairs and greedy answers are as in people_kept.py; of those who want long answers the two of each pair
have changed places. What recipes say of steps and margins holds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import spearmanr

from services.retrain.adapters.chat_encoder import ChatEncoder
from services.retrain.adapters.objectives.panacea import grid
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.adapters.training import Trainer
from services.retrain.domain.rules import Rules
from services.retrain.domain.tags import as_trained, brevity, tag
from services.retrain.domain.training import TrainingPlan
from shared.language.pairs import Pair
from tests.benchmarks.people_kept import Model, Trial, tell

LEVELS = range(1, 6)
SHORTER, LONGER = "shorter", "longer"


def measure(seeds: int) -> None:
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for line in Told(Trial(Path(folder), seed)).lines():
                print(json.dumps({**line, "seed": seed}), flush=True)


@dataclass(frozen=True, slots=True)
class Told:
    trial: Trial

    def lines(self) -> Iterator[dict[str, Any]]:
        base = self.trial.untrained()
        pairs = [replace(one, persona="") for one in self.trial.complaints(base)]
        yield {"name": "people.told.brevity", "recipe": "none", **self._by_level(base)}
        model, _ = self._trained(pairs, self._plan("cpo"))
        yield {"name": "people.told.brevity", "recipe": "cpo", **self._by_level(model)}
        model, trainer = self._trained(list(map(_of_group, pairs)), self._plan("panacea"))
        found = {}
        for weights in sorted(grid(2), reverse=True):
            with model.policy.preferring(weights):
                found[f"{weights[0]:g}"] = _median(model.answers(self.trial.asked))
        chosen = trainer.settle()[-1].preference
        yield {"name": "people.told.groups", "words": found, "handed_over": chosen}

    def _plan(self, recipe: str) -> TrainingPlan:
        return replace(RecipeFolders().get(recipe).applied(Rules()).plan, seed=self.trial.seed)

    def _trained(self, pairs: Sequence[Pair], plan: TrainingPlan) -> tuple[Model, Trainer]:
        model = self.trial.untrained()
        encoder = ChatEncoder(model.tokenizer, plan.prompt_tokens, plan.answer_tokens)
        encoded = encoder.encode_all(as_trained(pairs, plan), plan.persona_share, plan.seed)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(model.policy, encoded, plan, Path(folder))
            trainer.run(tell)
        return model, trainer

    def _by_level(self, model: Model) -> dict[str, Any]:
        by_level = {level: model.answers(self.trial.asked, tag=tag(level)) for level in LEVELS}
        asked, found = zip(
            *((level, brevity(one)) for level, some in by_level.items() for one in some),
            strict=True,
        )
        return {
            "words": {
                "untold": _median(model.answers(self.trial.asked)),
                **{str(level): _median(some) for level, some in by_level.items()},
            },
            "correlation": round(float(spearmanr(asked, found).statistic), 3),
            "answers": len(asked),
        }


def _of_group(pair: Pair) -> Pair:
    """Every second pair is of somebody who wants it long."""
    if int(pair.pair_id) % 2:
        return replace(pair, chosen=pair.rejected, rejected=pair.chosen, groups=(LONGER,))
    return replace(pair, groups=(SHORTER,))


def _median(answers: Sequence[str]) -> float:
    return median(len(one.split()) for one in answers)
