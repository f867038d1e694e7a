"""`make bench-mining`: the offline judge of follow-ups on people's labels. One JSON line a figure.

Labels lie in the folder TRIMTAB_REAL_DATA (default ../shared/data); without it nothing is measured.
Whole corpora are left out: fitted on one, judged on the others; intents by folds of whole dialogues.
Each model is measured beside the baseline in the same run: MiniLM vectors of request, answer and
follow-up, their products and cosines, logistic regression on the majority label.

mining.<fitted on>.<judged on>   AUROC of dissatisfaction [95%: bootstrap by dialogue], the baseline's,
                                 calibration error, coverage at the threshold
mining.intents                   macro-F1 of accept, reject, other, the baseline's
mining.speed                     turns/s of both on the cores at hand, and the ratio

--models lexical measures without the encoder; --turns bounds the turns taken of each corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.feedback import offline
from services.feedback.adapters.minilm import MiniLmEmbedder
from services.feedback.app.offline import blend as blending
from services.feedback.app.offline import lines as contract
from services.feedback.app.offline.features import Conversation, Floats
from services.feedback.app.offline.fitting import Judge, fit, folds_of
from services.feedback.app.offline.lines import Example
from shared.settings import CommonSettings, load
from tests.benchmarks import mining_data
from tests.benchmarks.mining_data import Turn

RESAMPLES = 500
FOLDS = 3
SPEED_TURNS = 2_000
POSITIVE = "dissatisfied"
Score = Callable[[Sequence[Conversation]], Floats]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", choices=("all", "lexical"), default="all")
    parser.add_argument("--turns", type=int, default=20_000)
    given = parser.parse_args()
    folder = Path(os.environ.get("TRIMTAB_REAL_DATA", "../shared/data"))
    if not (folder / "uss").is_dir():
        print(f"bench-mining: skipped, no labelled data in {folder} (set TRIMTAB_REAL_DATA)")
        return
    embedder = MiniLmEmbedder(
        load(CommonSettings).encoder, threads=len(os.sched_getaffinity(0)), cached=0
    )
    corpora = {
        "multiwoz": mining_data.satisfaction(folder, "MWOZ"),
        "redial": mining_data.satisfaction(folder, "ReDial"),
        "convai2": mining_data.thumbs(folder),
    }
    corpora = {name: turns[: given.turns] for name, turns in corpora.items()}
    for name in ("multiwoz", "redial"):
        leave_out(name, corpora, given.models, embedder)
    judge_intents(mining_data.intents(folder)[: given.turns], given.models, embedder)


def leave_out(
    fitted_on: str, corpora: dict[str, list[Turn]], models: str, embedder: MiniLmEmbedder
) -> None:
    turns = corpora[fitted_on]
    judge = judge_of(turns, models)
    baseline = Baseline(embedder, turns, ("fine", POSITIVE))
    for name, others in corpora.items():
        if name != fitted_on:
            compare(f"mining.{fitted_on}.{name}", judge, baseline, others)
    speed(fitted_on, judge, baseline, turns[:SPEED_TURNS])


def compare(name: str, judge: Judge, baseline: Baseline, turns: list[Turn]) -> None:
    conversations, column = conversations_of(turns), judge.labels.index(POSITIVE)
    truth = np.array([turn.truth == POSITIVE for turn in turns])
    rows = judge.probabilities(conversations)
    shares = np.array([[turn.label.get(label, 0.0) for label in judge.labels] for turn in turns])
    found = blending.figures(rows, shares, judge.labels, judge.blend.threshold)
    dialogues = [turn.dialogue for turn in turns]
    say(
        name,
        turns=len(turns),
        auroc=interval(truth, rows[:, column], dialogues),
        baseline_auroc=interval(truth, baseline(conversations)[:, 1], dialogues),
        calibration_error=round(found.calibration_error, 4),
        coverage=round(found.coverage, 4),
        accuracy_where_judged=round(found.accuracy_where_judged, 4),
    )


def judge_intents(turns: list[Turn], models: str, embedder: MiniLmEmbedder) -> None:
    labels = ("accept", "other", "reject")
    folds = folds_of([turn.dialogue for turn in turns], FOLDS, seed=0)
    truth = np.array([labels.index(turn.truth) for turn in turns])
    ours, theirs = np.zeros_like(truth), np.zeros_like(truth)
    for fold in range(FOLDS):
        inside = [turn for turn, one in zip(turns, folds, strict=True) if one != fold]
        outside = conversations_of(
            [turn for turn, one in zip(turns, folds, strict=True) if one == fold]
        )
        ours[folds == fold] = judge_of(inside, models).probabilities(outside).argmax(1)
        theirs[folds == fold] = Baseline(embedder, inside, labels)(outside).argmax(1)
    say(
        "mining.intents",
        turns=len(turns),
        macro_f1=round(blending.macro_f1(truth, ours, 3), 4),
        baseline_macro_f1=round(blending.macro_f1(truth, theirs, 3), 4),
    )


def speed(name: str, judge: Judge, baseline: Baseline, turns: list[Turn]) -> None:
    conversations = conversations_of(turns)
    ours, theirs = (per_second(one, conversations) for one in (judge.probabilities, baseline))
    say(f"mining.speed.{name}", value=ours, unit="turns/s", baseline=theirs,
        ratio=round(ours / theirs, 1))  # fmt: skip


def per_second(score: Score, conversations: Sequence[Conversation]) -> int:
    score(conversations[:64])
    started = time.perf_counter()
    score(conversations)
    return round(len(conversations) / (time.perf_counter() - started))


def judge_of(turns: list[Turn], models: str) -> Judge:
    read = contract.read(mining_data.lines(turns), labelled=True)
    examples = [one for one in read if isinstance(one, Example)]
    started = time.perf_counter()
    judge = fit(examples, offline.learners(models), 0, lambda _: None).judge
    seconds = time.perf_counter() - started
    print(f"fitted on {len(examples)} turns in {seconds:.0f} s", file=sys.stderr, flush=True)
    return judge


class Baseline:
    """Owns its weights; embeds three texts a turn, as it would be done at first."""

    def __init__(
        self, embedder: MiniLmEmbedder, turns: list[Turn], labels: tuple[str, ...]
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self._embedder = embedder
        inputs = self._inputs(conversations_of(turns))
        self._model = LogisticRegression(max_iter=500)
        self._model.fit(inputs, [labels.index(turn.truth) for turn in turns])

    def __call__(self, conversations: Sequence[Conversation]) -> Floats:
        found: Any = self._model.predict_proba(self._inputs(conversations))
        return np.asarray(found)

    def _inputs(self, conversations: Sequence[Conversation]) -> Floats:
        texts = [[getattr(one, part) for one in conversations]
                 for part in ("request", "answer", "follow_up")]  # fmt: skip
        request, answer, said = (np.asarray(self._embedder.embed(column)) for column in texts)
        products = [said * request, said * answer, request * answer]
        cosines = np.stack([product.sum(1) for product in products], 1)
        return np.concatenate([request, answer, said, *products, cosines], 1)


def conversations_of(turns: Sequence[Turn]) -> list[Conversation]:
    return [
        Conversation(tuple((one["role"], one["content"]) for one in turn.messages))
        for turn in turns
    ]


def interval(truth: Floats, score: Floats, dialogues: Sequence[str]) -> list[float]:
    """[AUROC, low, high]: whole dialogues are drawn again, with replacement."""
    rows: dict[str, list[int]] = {}
    for number, dialogue in enumerate(dialogues):
        rows.setdefault(dialogue, []).append(number)
    blocks, random = list(rows.values()), np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        picked = random.integers(0, len(blocks), len(blocks))
        chosen = np.concatenate([blocks[one] for one in picked])
        drawn.append(blending.auroc(truth[chosen], score[chosen]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(one), 4) for one in (blending.auroc(truth, score), low, high)]


def say(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
