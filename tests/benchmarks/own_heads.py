"""What a tenant's own labels do to the shipped head of dissatisfaction: `python -m tests.benchmarks.own_heads`.

Each corpus stands for a tenant whose users (its dialogues) judged every answer: labels are the shares of
raters who were dissatisfied. The head is fitted on dialogues that are not held out and goes through the gate on
the others, as in the service. Reads TRIMTAB_REAL_DATA (../shared/data); one JSON line a corpus.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from services.feedback.heads.app.refit import RefitHead
from services.feedback.heads.domain import HeadLabel, Interval, Stand
from services.feedback.mining.app.classifier import Classifier, load_head
from services.feedback.mining.app.dissatisfaction import load_dissatisfaction
from services.feedback.mining.app.features import Conversation
from services.feedback.settings import FeedbackSettings
from services.feedback.training.fit_dissatisfaction import exchange_of
from services.feedback.wiring.heads import DISSATISFACTION, HEAD
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.identifiers import stable_id
from tests.benchmarks.mining_data import Turn, corpora

TURNS = 1500
# The shipped head was fitted on this one.
_KNOWN = "convai2"


def main() -> None:
    folder = Path(os.environ.get("TRIMTAB_REAL_DATA", "../shared/data"))
    if not (folder / "uss").is_dir():
        print(f"own_heads: skipped, no labelled data in {folder} (set TRIMTAB_REAL_DATA)")
        return
    settings = FeedbackSettings()
    embedder = SentenceEncoder(load(CommonSettings).encoder, max_tokens=settings.encoder_tokens)
    kinds, shipped = load_head(HEAD), load_dissatisfaction(DISSATISFACTION)
    classifier = Classifier(embedder, kinds, kinds.threshold, shipped)
    refit = RefitHead(classifier, shipped, settings.refit_rules())
    for name, turns in corpora(folder).items():
        if name != _KNOWN:
            labels = [label_of(turn, n) for n, turn in enumerate(some(turns))]
            tell(name, refit, labels, Stand("shipped", shipped))


def some(turns: list[Turn]) -> list[Turn]:
    """Evenly from the whole of a corpus."""
    step = max(len(turns) // TURNS, 1)
    return turns[::step][:TURNS]


def label_of(turn: Turn, place: int) -> HeadLabel:
    said = tuple((one["role"], one["content"]) for one in turn.messages)
    bad = turn.label.get("dissatisfied", 0.0)
    user = stable_id("user", turn.dialogue)
    return HeadLabel(user, user, exchange_of(Conversation(said)), bad, place + 1)


def tell(name: str, refit: RefitHead, labels: list[HeadLabel], stand: Stand) -> None:
    found = refit(name, labels, stand)
    if found.fitted is None:
        print(json.dumps({"name": f"own_heads.{name}", "verdict": found.reason}), flush=True)
        return
    figures, strength = found.fitted.figures, found.fitted.strength
    line = {
        "name": f"own_heads.{name}",
        "verdict": found.fitted.reason or "promoted",
        "how": f"refitted, strength {strength}" if math.isfinite(strength) else "recalibrated",
        "labels": found.labels,
        "users": found.users,
        "held_out_labels": figures.labels,
        "held_out_users": figures.users,
        "log_loss": [round(figures.log_loss_before, 4), round(figures.log_loss_after, 4)],
        "log_loss_gain": _words(figures.log_loss_gain),
        "auroc": [_words(figures.auroc_before), _words(figures.auroc_after)],
        "auroc_gain": _words(figures.auroc_gain),
        "ece": [
            round(figures.calibration_error_before, 4),
            round(figures.calibration_error_after, 4),
        ],
    }
    print(json.dumps(line), flush=True)


def _words(found: Interval) -> str:
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


if __name__ == "__main__":
    main()
