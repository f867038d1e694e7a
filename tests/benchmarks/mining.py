"""`make bench-mining`: the offline judge of follow-ups on people's labels. One JSON line a figure.

Labels lie in the folder TRIMTAB_REAL_DATA (default ../shared/data); without it nothing is measured.
Whole corpora are left out: fitted on MultiWOZ and ReDial together, and on each alone, judged on all
others of the folder (every corpus below uss/ that is there; dissatisfied: mean rating below 2.5);
intents by folds of whole dialogues. Each model is measured beside the baseline in the same run: MiniLM
vectors of request, answer and follow-up, their products and cosines, logistic regression on the
majority label.

mining.<fitted on>.<judged on>   AUROC of dissatisfaction [95%: bootstrap by dialogue], the baseline's,
                                 calibration error, coverage at the threshold; seconds of the fit
mining.shipped.<judged on>       AUROC of what the service runs with (fitted on other labels: its model card),
                                 the kinds' head's alone, calibration error, and how often the user was
                                 dissatisfied where it judged so, where it judged not, and coverage
mining.steps                     the ladder's four steps of complaint, on UKP feedback's reactions: how many are
                                 judged, and how often as people did
mining.intents                   macro-F1 of accept, reject, other, the baseline's
mining.offence                   of the filter of offensive answers, at its default: how much of what is hateful
                                 or harassing, and of what is sexual, it finds in OpenAI's moderation set, how
                                 much of the rest it takes for such, and of real models' answers; [95%: Wilson];
                                 texts/s
mining.speed                     lines/s of `score` on the cores at hand, its reading and writing included, the
                                 baseline's turns/s without them, and the ratio
mining.speed.shipped             the same of what the service runs with, in batches as it judges them

--models lexical measures without the encoder; --turns bounds the turns taken of each corpus; --only
measures one part: shipped, together, multiwoz, redial (what is fitted on), intents, offence or speed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.feedback.mining.app.classifier import Classifier, Exchange, load_head
from services.feedback.mining.app.dissatisfaction import load_dissatisfaction
from services.feedback.mining.app.features import Conversation, Floats
from services.feedback.mining.app.ladder import step_of
from services.feedback.mining.domain import Label
from services.feedback.pairs.adapters.offensive import LinearModerator
from services.feedback.settings import FeedbackSettings
from services.feedback.training import offline
from services.feedback.training.app import blend as blending
from services.feedback.training.app import lines as contract
from services.feedback.training.app.fitting import Judge, fit, folds_of
from services.feedback.training.app.lines import Example
from services.feedback.training.fit_dissatisfaction import exchange_of
from services.feedback.wiring.heads import DISSATISFACTION, HEAD
from shared.commandline.offline import cores
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.verdicts import DISSATISFIED
from shared.statistics import classification
from shared.statistics.intervals import wilson
from tests.benchmarks import mining_data
from tests.benchmarks.mining_baseline import Baseline, PlainEmbedder
from tests.benchmarks.mining_data import Turn

PARTS = ("shipped", "together", "multiwoz", "redial", "intents", "offence", "speed")
FOLDS = 3
# Of each corpus fitted on, to measure speed: it does not depend on them.
SPEED_FITTED, SPEED_TURNS = 250, 4_000
SHIPPED_TURNS, JUDGED_AT_ONCE = 6_000, 64
POSITIVE = "dissatisfied"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", choices=("all", "lexical"), default="all")
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--only", choices=PARTS)
    given = parser.parse_args()
    folder = Path(os.environ.get("TRIMTAB_REAL_DATA", "../shared/data"))
    if not (folder / "uss").is_dir():
        print(f"bench-mining: skipped, no labelled data in {folder} (set TRIMTAB_REAL_DATA)")
        return
    embedder = encoder()
    corpora = {name: turns[: given.turns] for name, turns in mining_data.corpora(folder).items()}
    both = [*corpora["multiwoz"], *corpora["redial"]]
    parts: dict[str, Callable[[], None]] = {
        "shipped": lambda: judge_with_what_ships(corpora),
        "together": lambda: leave_out("both", both, corpora, given.models, embedder),
        "multiwoz": lambda: leave_out(
            "multiwoz", corpora["multiwoz"], corpora, given.models, embedder
        ),
        "redial": lambda: leave_out("redial", corpora["redial"], corpora, given.models, embedder),
        "intents": lambda: judge_intents(
            mining_data.intents(folder)[: given.turns], given.models, embedder
        ),
        "offence": lambda: moderate(folder),
        "speed": lambda: speed(corpora, given.models),
    }
    for part, measure in parts.items():
        if given.only in (None, part):
            measure()


def leave_out(
    name: str,
    turns: list[Turn],
    corpora: dict[str, list[Turn]],
    models: str,
    embedder: SentenceEncoder,
) -> None:
    """Fitted on `turns`; judged on every corpus that shares no dialogue with them."""
    started = time.perf_counter()
    judge = judge_of(turns, models)
    say(f"mining.{name}.fit", turns=len(turns), seconds=round(time.perf_counter() - started))
    baseline = Baseline(embedder, conversations_of(turns), [turn.truth for turn in turns])
    fitted_on = {id(turn) for turn in turns}
    for other, judged in corpora.items():
        if id(judged[0]) not in fitted_on:
            compare(f"mining.{name}.{other}", judge, baseline, judged)


def compare(name: str, judge: Judge, baseline: Baseline, turns: list[Turn]) -> None:
    conversations, column = conversations_of(turns), judge.labels.index(POSITIVE)
    at = baseline.labels.index(POSITIVE)
    truth = np.array([turn.truth == POSITIVE for turn in turns])
    rows = judge.probabilities(conversations)
    shares = np.array([[turn.label.get(label, 0.0) for label in judge.labels] for turn in turns])
    found = blending.figures(rows, shares, judge.labels, judge.blend.threshold)
    dialogues = [turn.dialogue for turn in turns]
    say(
        name,
        turns=len(turns),
        auroc=interval(truth, rows[:, column], dialogues),
        baseline_auroc=interval(truth, baseline(conversations)[:, at], dialogues),
        calibration_error=round(found.calibration_error, 4),
        coverage=round(found.coverage, 4),
        accuracy_where_judged=round(found.accuracy_where_judged, 4),
    )


def encoder(int8: bool = False) -> SentenceEncoder:
    path = load(CommonSettings).encoder
    return SentenceEncoder(path, max_tokens=64, threads=cores(), cached=0, int8=int8)


def judge_with_what_ships(corpora: dict[str, list[Turn]]) -> None:
    classifier = what_ships()
    for name, turns in corpora.items():
        if name == "convai2":  # it is fitted on that
            continue
        exchanges = [exchange_of(one) for one in conversations_of(turns[:SHIPPED_TURNS])]
        labels = judged_in_batches(classifier, exchanges)
        truth = np.array([turn.truth == POSITIVE for turn in turns[:SHIPPED_TURNS]])
        dialogues = [turn.dialogue for turn in turns[:SHIPPED_TURNS]]
        tell_shipped(f"mining.shipped.{name}", truth, labels, dialogues)
    judge_steps([turn for turn in corpora["ukp"] if turn.step], classifier)


def what_ships() -> Classifier:
    head = load_head(HEAD)
    return Classifier(
        encoder(int8=True), head, head.threshold, load_dissatisfaction(DISSATISFACTION)
    )


def judged_in_batches(classifier: Classifier, exchanges: Sequence[Exchange]) -> list[Label]:
    return [
        label
        for start in range(0, len(exchanges), JUDGED_AT_ONCE)
        for label in classifier.judge(exchanges[start : start + JUDGED_AT_ONCE])[0]
    ]


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
        calibration_error=round(classification.calibration_error(said, truth), 4),
        dissatisfied_where_judged_so=round(float(truth[bad].mean()), 4),
        dissatisfied_where_judged_not=round(float(truth[judged & ~bad].mean()), 4),
        coverage=round(float(judged.mean()), 4),
    )


def judge_intents(turns: list[Turn], models: str, embedder: SentenceEncoder) -> None:
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
        baseline = Baseline(embedder, conversations_of(inside), [turn.truth for turn in inside])
        theirs[folds == fold] = baseline(outside).argmax(1)
    say(
        "mining.intents",
        turns=len(turns),
        macro_f1=round(classification.macro_f1(truth, ours, 3), 4),
        baseline_macro_f1=round(classification.macro_f1(truth, theirs, 3), 4),
    )


def speed(corpora: dict[str, list[Turn]], models: str) -> None:
    fitted_on = [turn for one in ("multiwoz", "redial") for turn in corpora[one][:SPEED_FITTED]]
    turns = [turn for one in ("multiwoz", "redial") for turn in corpora[one][-SPEED_TURNS // 2 :]]
    plain = PlainEmbedder(load(CommonSettings).encoder)
    baseline = Baseline(plain, conversations_of(fitted_on), [one.truth for one in fitted_on])
    theirs = per_second(baseline, conversations_of(turns))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, some in (("labels", fitted_on), ("turns", turns)):
            (folder / part).write_text("".join(f"{one}\n" for one in mining_data.lines(some)))
        command("fit", folder, "--input", "labels", "--output", "judge", "--models", models)
        said = command("score", folder, "--model", "judge", "--input", "turns", "--output", "out")
    ours = int(said["lines_per_second"])
    say("mining.speed", value=ours, unit="turns/s", baseline=theirs, ratio=round(ours / theirs, 1))
    classifier = what_ships()
    exchanges = [exchange_of(one) for one in conversations_of(turns)]
    online = per_second(lambda some: judged_in_batches(classifier, some), exchanges)
    say("mining.speed.shipped", value=online, unit="turns/s", baseline=theirs,
        ratio=round(online / theirs, 1))  # fmt: skip


def command(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The summary that an offline command prints; `options` name files in `folder`."""
    module = [sys.executable, "-m", "services.feedback.training.offline", name, "--json"]
    given = [one if one.startswith("--") or one in ("all", "lexical") else str(folder / one)
             for one in options]  # fmt: skip
    done = subprocess.run([*module, *given], check=True, capture_output=True, text=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def per_second(score: Callable[[Sequence[Any]], object], rows: Sequence[Any]) -> int:
    score(rows[:64])
    started = time.perf_counter()
    score(rows)
    return round(len(rows) / (time.perf_counter() - started))


def judge_of(turns: list[Turn], models: str) -> Judge:
    read = contract.read(mining_data.lines(turns), labelled=True)
    examples = [one for one in read if isinstance(one, Example)]
    return fit(examples, offline.learners(models), 0, lambda _: None).judge


def conversations_of(turns: Sequence[Turn]) -> list[Conversation]:
    return [
        Conversation(tuple((one["role"], one["content"]) for one in turn.messages))
        for turn in turns
    ]


def moderate(folder: Path) -> None:
    settings = FeedbackSettings()
    moderator, threshold = LinearModerator(settings.offence), settings.max_offence
    rows, answers = mining_data.moderated(folder), mining_data.answers(folder)

    def found(texts: Sequence[str]) -> list[float]:
        """[rate, low, high, texts]"""
        times = sum(moderator.offence(text) >= threshold for text in texts)
        low, high = wilson(times, len(texts))
        return [round(one, 4) for one in (times / len(texts), low, high)] + [len(texts)]

    started = time.perf_counter()
    flagged = found(answers)
    say(
        "mining.offence",
        threshold=threshold,
        hateful=found([text for text, hateful, _ in rows if hateful]),
        sexual=found([text for text, _, sexual in rows if sexual]),
        neither=found(
            [text for text, hateful, sexual in rows if (hateful, sexual) == (False, False)]
        ),
        real_answers=flagged,
        texts_per_s=round(len(answers) / (time.perf_counter() - started)),
    )


def interval(truth: Floats, score: Floats, dialogues: Sequence[str]) -> list[float]:
    """[AUROC, low, high]."""
    return [round(one, 4) for one in classification.auroc_interval(truth, score, dialogues)]


def say(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
