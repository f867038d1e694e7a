"""`make bench-mining`: the offline judge of follow-ups on people's labels. One JSON line a figure.

Labels lie in the folder TRIMTAB_REAL_DATA (default ../shared/data); without it nothing is measured.
Whole corpora are left out: fitted on one, judged on the others; intents by folds of whole dialogues.
Each model is measured beside the baseline in the same run: MiniLM vectors of request, answer and
follow-up, their products and cosines, logistic regression on the majority label.

mining.<fitted on>.<judged on>   AUROC of dissatisfaction [95%: bootstrap by dialogue], the baseline's,
                                 calibration error, coverage at the threshold
mining.shipped.<judged on>       AUROC of what the service runs with (fitted on other labels: its model card),
                                 the kinds' head's alone, calibration error, and how often the user was
                                 dissatisfied where it judged so, where it judged not, and coverage
mining.steps                     the ladder's four steps of complaint, on UKP feedback's reactions: how many are
                                 judged, and how often as people did
mining.intents                   macro-F1 of accept, reject, other, the baseline's
mining.speed                     turns/s of both on the cores at hand, and the ratio

--models lexical measures without the encoder; --turns bounds the turns taken of each corpus; --only
measures one part: shipped, fitted (left out and speed) or intents.
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
from services.feedback.app.classifier import Classifier, load_head
from services.feedback.app.dissatisfaction import load_dissatisfaction
from services.feedback.app.ladder import step_of
from services.feedback.app.offline import blend as blending
from services.feedback.app.offline import lines as contract
from services.feedback.app.offline.features import Conversation, Floats
from services.feedback.app.offline.fitting import Judge, fit, folds_of
from services.feedback.app.offline.lines import Example
from services.feedback.domain import DISSATISFIED, Label
from services.feedback.fit_dissatisfaction import exchange_of
from services.feedback.main import DISSATISFACTION, HEAD
from shared.settings import CommonSettings, load
from tests.benchmarks import mining_data
from tests.benchmarks.mining_data import Turn

FOLDS = 3
SPEED_TURNS = 2_000
SHIPPED_TURNS, JUDGED_AT_ONCE = 6_000, 64
POSITIVE = "dissatisfied"
Score = Callable[[Sequence[Conversation]], Floats]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", choices=("all", "lexical"), default="all")
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--only", choices=("shipped", "fitted", "intents"))
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
        "ukp": mining_data.reactions(folder),
    }
    corpora = {name: turns[: given.turns] for name, turns in corpora.items()}
    if given.only in (None, "shipped"):
        judge_with_what_ships(corpora, embedder)
    for name in ("multiwoz", "redial"):
        if given.only in (None, "fitted"):
            leave_out(name, corpora, given.models, embedder)
    if given.only in (None, "intents"):
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


def judge_with_what_ships(corpora: dict[str, list[Turn]], embedder: MiniLmEmbedder) -> None:
    head = load_head(HEAD)
    classifier = Classifier(embedder, head, head.threshold, load_dissatisfaction(DISSATISFACTION))
    for name, turns in corpora.items():
        if name == "convai2":  # it is fitted on that
            continue
        exchanges = [exchange_of(one) for one in conversations_of(turns[:SHIPPED_TURNS])]
        labels = [
            label
            for start in range(0, len(exchanges), JUDGED_AT_ONCE)
            for label in classifier.judge(exchanges[start : start + JUDGED_AT_ONCE])[0]
        ]
        truth = np.array([turn.truth == POSITIVE for turn in turns[:SHIPPED_TURNS]])
        dialogues = [turn.dialogue for turn in turns[:SHIPPED_TURNS]]
        tell_shipped(f"mining.shipped.{name}", truth, labels, dialogues)
    judge_steps([turn for turn in corpora["ukp"] if turn.step], classifier)


def judge_steps(turns: list[Turn], classifier: Classifier) -> None:
    exchanges = [exchange_of(one) for one in conversations_of(turns)]
    judged = classifier.judge(exchanges)
    right = [
        step_of(label.kind, exchange.follow_up, similarity) == turn.step
        for turn, exchange, label, similarity in zip(
            turns, exchanges, judged.labels, judged.similarities, strict=True
        )
        if not label.abstained
    ]
    say(
        "mining.steps",
        turns=len(turns),
        judged=len(right),
        accuracy=round(float(np.mean(right)), 4),
    )


def tell_shipped(name: str, truth: Floats, labels: list[Label], dialogues: list[str]) -> None:
    said = np.array([label.dissatisfaction for label in labels])
    kinds = np.array([sum(label.probabilities[k] for k in DISSATISFIED) for label in labels])
    judged = np.array([not label.abstained for label in labels])
    bad = judged & (said >= 0.5)
    say(
        name,
        turns=len(labels),
        auroc=interval(truth, said, dialogues),
        kinds_auroc=interval(truth, kinds, dialogues),
        calibration_error=round(blending.calibration_error(said, truth), 4),
        dissatisfied_where_judged_so=round(float(truth[bad].mean()), 4),
        dissatisfied_where_judged_not=round(float(truth[judged & ~bad].mean()), 4),
        coverage=round(float(judged.mean()), 4),
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
    """[AUROC, low, high]."""
    return [round(one, 4) for one in blending.auroc_interval(truth, score, dialogues)]


def say(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
