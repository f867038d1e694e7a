"""The miner without a platform: `python -m services.feedback.training.offline fit | score`.

    fit    --input labels.jsonl --output DIR      fit a judge of follow-ups on labelled lines
    score  --model DIR --input x.jsonl --output y.jsonl

`-` is standard input or output. Progress and problems go to standard error; a summary goes to
standard output (to standard error where the scores go there), as JSON with --json. Bad lines are reported
with line and field and left out of a fit (DIR/refused.jsonl lists them); in scores such a line
keeps its place: labels as in the fitted lines, abstained, reason BAD_LINE. Exit codes as of
`trimtab`: 0 ok, 1 some lines were refused, 2 usage, 3 not found. `trimtab feedback fit` runs this.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from services.feedback.mining.app.features import Conversation
from services.feedback.training.app import lines as contract
from services.feedback.training.app.fitting import FittedJudge, Judge, Learner, fit
from services.feedback.training.app.lines import BAD_LINE, Example
from shared.commandline.line_files import reading, tell, tell_refused, write_lines, writing
from shared.commandline.offline import (
    OK,
    REFUSED,
    cores,
    exit_code,
    fit_and_score,
    set_threads,
    summary,
)
from shared.configuration.settings import CommonSettings, load
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.language.refused_lines import Refused

CHUNK = 4_096
STRENGTHS = (0.1, 0.3, 1.0)
STRENGTHS_WITH_LETTERS = (1.0, 3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return exit_code(given.run, given)


def run_fit(given: argparse.Namespace) -> int:
    """Fits on what can be read. Nothing is written where that is not enough."""
    set_threads(given.threads)
    started = time.monotonic()
    with reading(given.input) as source:
        read = contract.read(source, labelled=True)
    examples = [one for one in read if isinstance(one, Example)]
    refused = [one for one in read if isinstance(one, Refused)]
    tell_refused([str(one) for one in refused])
    tell(f"{len(examples)} labelled lines, {len(refused)} refused")
    fitted = fit(examples, learners(given.models), given.seed, tell)
    folder = Path(given.output)
    _save(fitted, folder, {"seed": given.seed, "lines": len(examples)})
    write_lines(
        folder / "refused.jsonl",
        ({"line": one.line, "field": one.field, "problem": one.problem} for one in refused),
    )
    seconds = round(time.monotonic() - started, 1)
    summary(_fit_summary(fitted, len(examples), len(refused), seconds), given.json, sys.stdout)
    return REFUSED if refused else OK


def run_score(given: argparse.Namespace) -> int:
    """One line out for each that is not blank, in order, a chunk at a time."""
    from services.feedback.training.adapters.folder import load_judge

    set_threads(1)  # of a product: lines are judged side by side instead
    judge = load_judge(Path(given.model), workers=given.threads or cores())
    judge.probabilities([Conversation((("user", "Hello"),))])  # what loads at first use, loads now
    started, number = time.monotonic(), 0
    counts = {"lines": 0, "judged": 0, "abstained": 0, "refused": 0}
    with reading(given.input) as source, writing(given.output) as target:
        while chunk := list(islice(source, CHUNK)):
            _score_chunk(judge, chunk, number, target, counts)
            number += len(chunk)
            tell(f"{number} lines scored")
    seconds = time.monotonic() - started
    rate = round(counts["lines"] / max(seconds, 1e-9))
    document = {**counts, "seconds": round(seconds, 2), "lines_per_second": rate}
    summary(document, given.json, sys.stderr if given.output == "-" else sys.stdout)
    return REFUSED if counts["refused"] else OK


def learners(models: str) -> list[list[Learner]]:
    """The kinds of models that are blended, each with the settings to choose from."""
    from services.feedback.training.adapters.lexical import LexicalLearner

    found: list[list[Learner]] = [
        [
            *(LexicalLearner(strength) for strength in STRENGTHS),
            *(LexicalLearner(strength, letters=True) for strength in STRENGTHS_WITH_LETTERS),
        ]
    ]
    if models == "all":
        from services.feedback.training.adapters.encoder import EncoderLearner

        path = _found(load(CommonSettings).encoder)
        if not (path / "tokenizer.json").is_file():
            raise FailedPrecondition(
                f"no encoder at {path}: run `make setup`, set TRIMTAB_ENCODER, or fit with"
                " --models lexical",
                reason="NO_ENCODER",
            )
        found.append([EncoderLearner(path, tell=tell)])
    return found


def _found(encoder: Path) -> Path:
    """A path that is not below this folder may be below the checkout."""
    beside = Path(__file__).parents[3] / encoder
    return encoder if encoder.exists() or not beside.exists() else beside


def _score_chunk(
    judge: Judge, chunk: Sequence[str], before: int, target: TextIO, counts: dict[str, int]
) -> None:
    read = contract.read(chunk, labelled=False)
    conversations = [one.conversation for one in read if isinstance(one, Example)]
    rows = judge.probabilities(conversations) if conversations else np.zeros((0, 0))
    judged = iter(zip(rows, judge.reasons(conversations, rows), strict=True))
    even = np.full(len(judge.labels), 1.0 / len(judge.labels))
    for one in read:
        row, reason = (even, BAD_LINE) if isinstance(one, Refused) else next(judged)
        target.write(contract.answer_line(judge.labels, row, reason) + "\n")
        counts["lines"] += 1
        outcome = "refused" if reason == BAD_LINE else "abstained" if reason else "judged"
        counts[outcome] += 1
    target.flush()
    tell_refused(
        [
            str(Refused(one.line + before, one.field, one.problem))
            for one in read
            if isinstance(one, Refused)
        ]
    )


def _save(fitted: FittedJudge, folder: Path, about: dict[str, object]) -> None:
    from services.feedback.training.adapters.folder import save_judge

    try:
        save_judge(fitted, folder, about)
    except OSError as error:
        raise InvalidArgument(
            f"{folder} cannot be written: {error}", reason="NOT_WRITABLE", field="output"
        ) from error


def _fit_summary(
    fitted: FittedJudge, count: int, refused: int, seconds: float
) -> dict[str, object]:
    found = fitted.figures
    return {
        "lines": count,
        "refused": refused,
        "labels": list(fitted.judge.labels),
        "models": list(fitted.chosen),
        "folds": fitted.folds,
        "log_loss": round(found.log_loss, 4),
        "accuracy": round(found.accuracy, 4),
        "macro_f1": round(found.macro_f1, 4),
        "auroc": {label: round(value, 4) for label, value in found.auroc.items()},
        "calibration_error": round(found.calibration_error, 4),
        "threshold": round(fitted.judge.blend.threshold, 4),
        "coverage": round(found.coverage, 4),
        "accuracy_where_judged": round(found.accuracy_where_judged, 4),
        "seconds": seconds,
    }


def _parser() -> argparse.ArgumentParser:
    parser, fitting = fit_and_score(
        "python -m services.feedback.training.offline",
        run_fit,
        "fit a judge of follow-ups on labelled lines",
        run_score,
        "judge follow-ups",
    )
    fitting.add_argument("--models", choices=("all", "lexical"), default="all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
