"""Fits the follow-up classifier's head from the seeds: `python -m services.feedback.training.fit`.

Reads seeds/*.jsonl, writes head.npz and prints the figures of the model card. In the
cross-validation no wording of a follow-up and no request stands on both sides of a fold, so that
the figures tell of wordings not seen. Temperature, regularisation and threshold come from it alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.feedback.mining.app.classifier import (
    FEATURES,
    Exchange,
    Floats,
    Head,
    design,
    embed_exchanges,
    save_head,
)
from services.feedback.mining.domain import KINDS
from services.feedback.wiring.heads import HEAD
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.identifiers import share_of
from shared.language.verdicts import DISSATISFIED

SEEDS = Path(__file__).parent / "seeds"
FOLDS = 5
# The threshold is the lowest at which the cross-validated accuracy on what is judged is this.
WANTED_ACCURACY = 0.92
STRENGTHS = (0.001, 0.003, 0.01, 0.03)


def read_seeds(folder: Path) -> tuple[list[Exchange], list[int]]:
    exchanges, kinds = [], []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            exchanges.append(Exchange(row["request"], row["answer"], row["follow_up"]))
            kinds.append([kind.value for kind in KINDS].index(row["kind"]))
    return exchanges, kinds


def fit_head(inputs: Floats, kinds: Floats, strength: float) -> Head:
    """Multinomial logistic regression, L2, classes weighted alike."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = inputs.mean(0), inputs.std(0) + 1e-6
    # Vectors' dimensions keep one common scale; only the cheap features are standardised.
    dense = inputs.shape[1] - len(FEATURES)
    mean[:dense], scale[:dense] = 0.0, 1.0 / np.sqrt(dense / 3)
    model = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
    model.fit((inputs - mean) / scale, kinds)
    return Head(model.coef_.T, model.intercept_, mean, scale, 1.0, 0.0)


def cross_validate(
    exchanges: Sequence[Exchange], inputs: Floats, kinds: Floats, strength: float
) -> Floats:
    """Log-probabilities [n, kinds] of each seed by a head that saw neither its wording nor its
    request: folds of wordings cross folds of requests."""
    fold = np.array([int(share_of(e.follow_up.lower(), "fit") * FOLDS) for e in exchanges])
    topic = np.array([int(share_of(e.request.lower(), "fit") * FOLDS) for e in exchanges])
    logits = np.zeros((len(kinds), len(KINDS)))
    for one in range(FOLDS):
        for other in range(FOLDS):
            test = (fold == one) & (topic == other)
            train = (fold != one) & (topic != other)
            if test.any():
                head = fit_head(inputs[train], kinds[train], strength)
                logits[test] = np.log(head.probabilities(inputs[test]) + 1e-12)
    return logits


def calibrate(logits: Floats, kinds: Floats) -> float:
    """The temperature with the least log loss."""
    grid = np.geomspace(0.3, 3.0, 40)
    return float(min(grid, key=lambda t: log_loss(logits / t, kinds)))


def softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True))


def log_loss(logits: Floats, kinds: Floats) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(kinds)), kinds] + 1e-12).mean())


def choose_threshold(rows: Floats, kinds: Floats) -> float:
    best, right = rows.max(1), rows.argmax(1) == kinds
    for threshold in np.arange(0.30, 0.91, 0.05):
        if right[best >= threshold].mean() >= WANTED_ACCURACY:
            return round(float(threshold), 2)
    return 0.9


def report(rows: Floats, kinds: Floats, threshold: float) -> None:
    best, guess = rows.max(1), rows.argmax(1)
    taken = best >= threshold
    print(f"seeds {len(kinds)}, accuracy {(guess == kinds).mean():.3f}")
    print(
        f"threshold {threshold}: judged {taken.mean():.3f}, "
        f"accuracy on these {(guess == kinds)[taken].mean():.3f}"
    )
    for number, kind in enumerate(KINDS):
        said, true = (guess == number) & taken, (kinds == number) & taken
        hit = (said & true).sum()
        print(
            f"{kind:28s} precision {hit / max(said.sum(), 1):.3f} "
            f"recall {hit / max(true.sum(), 1):.3f} of {true.sum()} judged"
        )
    bad = [number for number, kind in enumerate(KINDS) if kind in DISSATISFIED]
    from sklearn.metrics import roc_auc_score

    print(f"AUROC of dissatisfaction {roc_auc_score(np.isin(kinds, bad), rows[:, bad].sum(1)):.3f}")


def held_out(
    exchanges: Sequence[Exchange], inputs: Floats, kinds: Floats
) -> tuple[Floats, float, float]:
    """Probabilities [n, kinds] of each seed by heads that saw neither its wording nor its request,
    and the strength and the temperature chosen for it."""
    trials = {s: cross_validate(exchanges, inputs, kinds, s) for s in STRENGTHS}
    strength = min(trials, key=lambda s: log_loss(trials[s] / calibrate(trials[s], kinds), kinds))
    temperature = calibrate(trials[strength], kinds)
    return softmax(trials[strength] / temperature), strength, temperature


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.feedback.training.fit")
    parser.add_argument("--errors", action="store_true", help="print what was judged wrongly")
    parser.add_argument("--output", type=Path, default=HEAD)
    given = parser.parse_args(arguments)
    embedder = SentenceEncoder(load(CommonSettings).encoder, max_tokens=64)
    exchanges, numbers = read_seeds(SEEDS)
    kinds = np.array(numbers)
    inputs = design(exchanges, *embed_exchanges(embedder, exchanges))
    rows, strength, temperature = held_out(exchanges, inputs, kinds)
    threshold = choose_threshold(rows, kinds)
    print(f"strength {strength}, temperature {temperature:.2f}")
    report(rows, kinds, threshold)
    whole = fit_head(inputs, kinds, strength)
    head = Head(whole.weights, whole.bias, whole.mean, whole.scale, temperature, threshold)
    save_head(head, given.output)
    if given.errors:
        for number in np.flatnonzero(rows.argmax(1) != kinds):
            best = int(rows[number].argmax())
            print(
                KINDS[kinds[number]],
                "->",
                KINDS[best],
                f"{rows[number, best]:.2f}",
                exchanges[number],
            )


if __name__ == "__main__":
    main()
