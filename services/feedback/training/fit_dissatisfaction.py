"""Fits the head that tells how likely a user was dissatisfied, and prints the figures of its card:

    python -m services.feedback.training.fit_dissatisfaction --iard iard.json.gz --convai2 FOLDER

From three sources, each weighing the same: the seeds written for this project (a re-attempt is
dissatisfied), IARD (MIT; a recommendation rejected or criticised), ConvAI2 (Apache-2.0; a thumb
down). Their texts are read by path; what ships is numbers. The one number to choose, how strongly
the weights are held near zero, is the one that judges best the sources that were left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from services.feedback.mining.app.classifier import (
    Exchange,
    Head,
    design,
    embed_exchanges,
    load_head,
)
from services.feedback.mining.app.dissatisfaction import (
    DissatisfactionHead,
    inputs_of,
    save_dissatisfaction,
)
from services.feedback.mining.app.features import Conversation, Floats, feature_rows
from services.feedback.mining.domain import KINDS
from services.feedback.mining.ports import Vectors
from services.feedback.settings import FeedbackSettings
from services.feedback.training.adapters import corpora
from services.feedback.training.app.fitting import Numbers, folds_of
from services.feedback.training.fit import SEEDS, held_out, read_seeds
from services.feedback.wiring.heads import DISSATISFACTION, HEAD
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.verdicts import DISSATISFIED
from shared.statistics.classification import auroc_interval, calibration_error

FOLDS = 5
STRENGTHS = (0.01, 0.03, 0.1, 0.3)
# The kinds' head is made of the seeds: a judge without them is no judge of what ships.
LEFT_OUT = ("iard", "convai2")


@dataclass(frozen=True, slots=True)
class Corpus:
    """`bad` [n] is 1 where the user was dissatisfied; `kinds` [n, KINDS] by a head that did not see
    the line; lines of one `dialogue` (of seeds: of one wording) stand in one fold."""

    conversations: list[Conversation]
    bad: Floats
    dialogues: list[str]
    vectors: Vectors
    kinds: Floats

    def rows(self, mean: Floats, scale: Floats) -> Any:
        return inputs_of(self.conversations, self.vectors, self.kinds, mean, scale)

    def part(self, which: Numbers) -> Corpus:
        return Corpus(
            [self.conversations[one] for one in which],
            self.bad[which],
            [self.dialogues[one] for one in which],
            self.vectors[which],
            self.kinds[which],
        )


class Report(NamedTuple):
    """Log odds of each source's lines, by heads fitted without their fold, and (where there is one)
    without their whole source."""

    folds: dict[str, Floats]
    left_out: dict[str, Floats]


def fit_head(sources: Sequence[Corpus], strength: float) -> DissatisfactionHead:
    """Logistic regression, L2; not calibrated. Every source weighs as much as a thousand lines."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    features = feature_rows([one for source in sources for one in source.conversations])
    mean, scale = features.mean(0), features.std(0)
    scale[scale < 1e-6] = 1.0
    rows = sparse.vstack([source.rows(mean, scale) for source in sources]).tocsr()
    used = np.flatnonzero(np.diff(rows.tocsc().indptr))
    weight = np.concatenate([np.full(len(s.bad), 1000.0 / len(s.bad)) for s in sources])
    model = LogisticRegression(C=strength, max_iter=1000)
    bad = np.concatenate([source.bad for source in sources])
    model.fit(rows[:, used], bad, sample_weight=weight)
    weights = np.zeros(rows.shape[1])
    weights[used] = model.coef_[0]
    return DissatisfactionHead(weights, float(model.intercept_[0]), mean, scale)


def odds(head: DissatisfactionHead, source: Corpus) -> Floats:
    return np.asarray(source.rows(head.mean, head.scale) @ head.weights + head.bias)


def fit(sources: dict[str, Corpus]) -> tuple[DissatisfactionHead, Report, float]:
    """The calibrated head, what was judged held out, and the strength chosen."""
    trials = {strength: leave_out(sources, strength) for strength in STRENGTHS}
    strength = max(STRENGTHS, key=lambda one: _quality(sources, trials[one]))
    report = Report(leave_folds_out(sources, strength), trials[strength])
    slope, shift = calibrate(sources, report.folds)
    head = fit_head(list(sources.values()), strength)
    weights, bias = head.weights * slope, head.bias * slope + shift
    calibrated = DissatisfactionHead(weights, bias, head.mean, head.scale)
    shown = ({n: slope * z + shift for n, z in one.items()} for one in report)
    return calibrated, Report(*shown), strength


def leave_out(sources: dict[str, Corpus], strength: float) -> dict[str, Floats]:
    found = {}
    for name in LEFT_OUT:
        others = [source for other, source in sources.items() if other != name]
        found[name] = odds(fit_head(others, strength), sources[name])
    return found


def leave_folds_out(sources: dict[str, Corpus], strength: float) -> dict[str, Floats]:
    folds = {name: folds_of(source.dialogues, FOLDS, seed=0) for name, source in sources.items()}
    found = {name: np.zeros(len(source.bad)) for name, source in sources.items()}
    for fold in range(FOLDS):
        inside = [
            source.part(np.flatnonzero(folds[name] != fold)) for name, source in sources.items()
        ]
        head = fit_head(inside, strength)
        for name, source in sources.items():
            outside = np.flatnonzero(folds[name] == fold)
            found[name][outside] = odds(head, source.part(outside))
    return found


def calibrate(sources: dict[str, Corpus], logits: dict[str, Floats]) -> tuple[float, float]:
    """Platt's slope and shift, every source weighing the same."""
    from sklearn.linear_model import LogisticRegression

    weight = np.concatenate([np.full(len(s.bad), 1000.0 / len(s.bad)) for s in sources.values()])
    scores = np.concatenate([logits[name] for name in sources])[:, None]
    model = LogisticRegression(C=1e6)
    model.fit(scores, np.concatenate([s.bad for s in sources.values()]), sample_weight=weight)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def read_sources(iard: Path, convai2: Path, embedder: SentenceEncoder) -> dict[str, Corpus]:
    head = load_head(HEAD)
    return {
        "seeds": _seeds(embedder),
        "iard": _labelled(corpora.intents(iard), {"reject"}, embedder, head),
        "convai2": _labelled(corpora.thumbs(convai2), {"dissatisfied"}, embedder, head),
    }


def _seeds(embedder: SentenceEncoder) -> Corpus:
    exchanges, numbers = read_seeds(SEEDS)
    kinds = np.array(numbers)
    vectors = embed_exchanges(embedder, exchanges)
    bad = np.array([KINDS[kind] in DISSATISFIED for kind in numbers], dtype=np.float64)
    rows = held_out(exchanges, design(exchanges, *vectors), kinds)[0]
    wordings = [one.follow_up.lower() for one in exchanges]
    return Corpus([one.conversation for one in exchanges], bad, wordings, vectors[2], rows)


def _labelled(
    found: Sequence[corpora.Labelled], bad: set[str], embedder: SentenceEncoder, head: Head
) -> Corpus:
    exchanges = [exchange_of(one.conversation) for one in found]
    vectors = embed_exchanges(embedder, exchanges)
    rows = head.probabilities(design(exchanges, *vectors))
    truth = np.array([one.label in bad for one in found], dtype=np.float64)
    talks = [one.conversation for one in exchanges]
    return Corpus(talks, truth, [one.dialogue for one in found], vectors[2], rows)


def exchange_of(one: Conversation) -> Exchange:
    """As the service sees it: the answer is the last before the follow-up, and so much before it."""
    place = max(n for n, (role, _) in enumerate(one.messages[:-1]) if role == "assistant")
    before = one.messages[:place][-FeedbackSettings().context_messages :]
    while len(before) > 1 and before[0][0] != "user":
        before = before[1:]
    return Exchange(one.request, one.answer, one.follow_up, before)


def _quality(sources: dict[str, Corpus], logits: dict[str, Floats]) -> float:
    return sum(
        auroc_interval(sources[name].bad, found, sources[name].dialogues, resamples=0)[0]
        for name, found in logits.items()
    )


def tell(sources: dict[str, Corpus], report: Report) -> None:
    for name, source in sources.items():
        print(f"{name}: {len(source.bad)} lines, {source.bad.mean():.3f} dissatisfied")
        for how, found in (("folds", report.folds), ("source left out", report.left_out)):
            if name in found:
                print(f"  {how:16s} {figures(source, found[name])}")
        for group, which in groups_of(source).items():
            part = figures(source.part(which), report.folds[name][which])
            print(f"    {group:16s} {len(which)} lines, {part}")


def figures(source: Corpus, logits: Floats) -> str:
    value, low, high = auroc_interval(source.bad, logits, source.dialogues)
    error = calibration_error(1.0 / (1.0 + np.exp(-logits)), source.bad)
    return f"AUROC {value:.3f} [{low:.3f}, {high:.3f}], ECE {error:.3f}"


def groups_of(source: Corpus) -> dict[str, Numbers]:
    words = np.array([len(one.follow_up.split()) for one in source.conversations])
    place = np.array([len(one.said("user")) for one in source.conversations])
    found = {
        "1-3 words": words <= 3,
        "4-10 words": (words > 3) & (words <= 10),
        "11 words or more": words > 10,
        "first follow-up": place <= 1,
        "later follow-ups": place > 1,
    }
    return {name: np.flatnonzero(which) for name, which in found.items() if which.sum() >= 50}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.feedback.training.fit_dissatisfaction"
    )
    parser.add_argument("--iard", type=Path, required=True)
    parser.add_argument("--convai2", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=DISSATISFACTION)
    given = parser.parse_args(arguments)
    tokens = FeedbackSettings().encoder_tokens
    embedder = SentenceEncoder(load(CommonSettings).encoder, max_tokens=tokens)
    sources = read_sources(given.iard, given.convai2, embedder)
    head, report, strength = fit(sources)
    save_dissatisfaction(head, given.output)
    print(f"strength {strength}, {given.output.stat().st_size / 1024:.0f} KiB")
    tell(sources, report)


if __name__ == "__main__":
    main()
