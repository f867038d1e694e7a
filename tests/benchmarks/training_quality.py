"""What each shipped recipe makes of real preferences: `make bench-training OPTIONS="--only quality"`. One JSON
line a recipe; the base model first.

training.quality.RECIPE  on held-out pairs, of which none begins with a request that is trained on: of how many
                         the chosen answer gained on the rejected one (`accuracy`, 95% interval), of how many
                         it is the likelier one per token (`likelier`), and by how many nats per token it
                         became likelier (`chosen_change`); steps, stages and seconds

Pairs: hh_harmless/pairs.jsonl.gz ({"chosen", "rejected"} transcripts) below TRIMTAB_REAL_DATA (default
../shared/data). They say nothing of users, groups, samples or complaints: what needs these is left out or does
without, as its line says.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from infra.local.settings import load
from services.retrain.adapters.chat_encoder import ChatEncoder
from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.adapters.references import StoredReferences
from services.retrain.adapters.training_stages import train_in_stages
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.rules import Rules
from services.retrain.domain.training import TrainingPlan, TrainingStep, Unsuitable
from shared.encoding.chat import load_tokenizer
from shared.language.identifiers import share_of
from shared.language.messages import text_message
from shared.language.pairs import Pair
from shared.statistics.intervals import wilson
from tests.benchmarks.reward import PAIRS, messages_of

# Shorter than in training, so that two cores see enough pairs in a minute.
PLAN = TrainingPlan(prompt_tokens=192, answer_tokens=96)
TRAINED, HELD_OUT = 240, 200


def measure(threads: int) -> Iterator[dict[str, Any]]:
    """`threads`: of torch."""
    real = Path(os.environ.get("TRIMTAB_REAL_DATA") or "../shared/data") / PAIRS
    if not real.is_file():
        yield {"name": "training.quality", "skipped": f"no pairs at {real}: set TRIMTAB_REAL_DATA"}
        return
    torch.set_num_threads(threads)
    base = load().base_model
    encoder = ChatEncoder(load_tokenizer(base), PLAN.prompt_tokens, PLAN.answer_tokens)
    learnt, held_out = (encoder.encode_all(some, 0.0, 0) for some in parts(real))
    with tempfile.TemporaryDirectory() as folder:
        quality = Quality(Path(folder), base, learnt, held_out)
        yield {"name": "training.quality.base", **quality.untrained()}
        for name, recipe in RecipeFolders().all().items():
            yield {"name": f"training.quality.{name}", **quality.of(recipe)}


def parts(real: Path) -> tuple[list[Pair], list[Pair]]:
    """(to train on, held out), by the first request of each conversation."""
    with gzip.open(real, "rt", encoding="utf-8") as lines:
        pairs = [pair_of(number, json.loads(line)) for number, line in enumerate(lines)]
    held = [share_of(one.prompt[0].text, "quality") < 0.4 for one in pairs]
    learnt = [one for one, is_held in zip(pairs, held, strict=True) if not is_held]
    judged = [one for one, is_held in zip(pairs, held, strict=True) if is_held]
    return learnt[:TRAINED], judged[:HELD_OUT]


def pair_of(number: int, row: dict[str, str]) -> Pair:
    chosen, rejected = (messages_of(row[side]) for side in ("chosen", "rejected"))
    prompt = tuple(text_message(one["role"], one["content"]) for one in chosen[:-1])
    return Pair(
        pair_id=str(number),
        user_id=str(number),
        source=None,
        prompt=prompt,
        chosen=text_message("assistant", chosen[-1]["content"]),
        rejected=text_message("assistant", rejected[-1]["content"]),
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


@dataclass(frozen=True, slots=True)
class Quality:
    folder: Path
    base: Path
    learnt: Sequence[EncodedPair]
    held_out: Sequence[EncodedPair]

    def untrained(self) -> dict[str, Any]:
        likelier = [_per_token(chosen) > _per_token(rejected) for chosen, rejected in self._said()]
        return {"likelier": round(mean(likelier), 3), "pairs": len(likelier)}

    def of(self, recipe: Recipe) -> dict[str, Any]:
        plan = recipe.applied(Rules(plan=PLAN)).plan
        place = self.folder / recipe.name
        place.mkdir()
        policy = self._policy(plan)
        began = time.monotonic()
        try:
            steps = train_in_stages(policy, self.learnt, plan, place, self._kept, tell)
        except Unsuitable as why:
            return {"left_out": why.message}
        seconds = time.monotonic() - began
        return {**self._held_out(policy), **_cost(steps, seconds)}

    def _held_out(self, policy: LoraPolicy) -> dict[str, Any]:
        won, likelier, changes = 0, 0, []
        for chosen, rejected, was, rejected_was in self._now(policy):
            won += bool(chosen.sum() - was.sum() > rejected.sum() - rejected_was.sum())
            likelier += _per_token(chosen) > _per_token(rejected)
            changes.append(_per_token(chosen) - _per_token(was))
        count = len(changes)
        low, high = wilson(won, count)
        return {
            "accuracy": round(won / count, 3),
            "low": round(low, 3),
            "high": round(high, 3),
            "likelier": round(likelier / count, 3),
            "chosen_change": round(mean(changes), 3),
            "pairs": count,
        }

    @torch.no_grad()
    def _now(self, policy: LoraPolicy) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each held-out pair, the log-probabilities of its answers by the policy and by the base model."""
        for pair, (was, rejected_was) in zip(self.held_out, self._said(), strict=True):
            chosen, rejected = policy.log_probabilities(policy.prepare(_group(pair)))
            yield chosen, rejected, was, rejected_was

    def _said(self) -> list[tuple[Tensor, ...]]:
        """By the base model; computed once."""
        kept = self._kept("")
        found = [kept.of(_group(pair)) for pair in self.held_out]
        if None in found:
            policy = self._policy(PLAN)
            found = [policy.prepare(_group(pair)).references for pair in self.held_out]
        return [one for one in found if one is not None]

    def _policy(self, plan: TrainingPlan) -> LoraPolicy:
        shape = LoraShape(plan.rank, plan.alpha, plan.layers)
        return LoraPolicy(load_model(self.base), shape, plan.seed, self._kept(""))

    def _kept(self, adapter: str) -> StoredReferences:
        return StoredReferences(self.folder / "references", adapter)


def _group(pair: EncodedPair) -> Group:
    return Group(pair.prompt, (pair.chosen, pair.rejected))


def _per_token(answer: Tensor) -> float:
    return float(answer.mean())


def _cost(steps: Sequence[TrainingStep], seconds: float) -> dict[str, Any]:
    return {"steps": len(steps), "stages": steps[-1].stage, "seconds": round(seconds)}


def tell(number: int, step: TrainingStep) -> None:
    print(
        f"stage {number}, step {step.step}: loss {step.loss:.3f}, margin {step.margin:.2f}",
        file=sys.stderr,
    )
