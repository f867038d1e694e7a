"""Reward models without a platform: `python -m services.reward.offline fit | score`.

    fit    --input pairs.jsonl --output DIR       fit a reward model on preferences
    score  --model DIR --input x.jsonl --output y.jsonl

The lines are described in learning/lines.py, the figures in learning/report.py. `-` is standard
input or output. Progress and problems go to standard error; a summary goes to standard output (to
standard error where the scores go there), as JSON with --json. Bad lines are reported with line and
field and left out of a fit (DIR/refused.jsonl lists them); in scores such a line keeps its place:
nulls, and an `error`. Exit codes as of `trimtab`: 0 ok, 1 some lines were refused or too few, 2
usage, 3 not found. `trimtab reward fit` runs this.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from services.reward.adapters import model_folder
from services.reward.adapters.extractors import EncodedAnswer, HiddenStates
from services.reward.domain import Answer
from services.reward.learning import lines as contract
from services.reward.learning.features import MOST_TOKENS
from services.reward.learning.fitting import Model, Options, fit
from services.reward.learning.lines import Preference, Rated
from services.reward.learning.rating import fit_ratings
from services.reward.learning.report import report
from services.reward.learning.table import Extractor, Learner, Surface, extract
from shared.commandline.line_files import reading, tell, tell_refused, write_lines, writing
from shared.commandline.offline import OK, REFUSED, exit_code, fit_and_score, set_threads, summary
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.language.refused_lines import Refused

CHUNK = 2048
ACCURATE, FAST, SURFACE, TUNED = "accurate", "fast", "surface", "tuned"
# The surface must come last: naming a model's columns relies on it.
BLOCKS = {
    ACCURATE: ("encoder", "policy", "surface"),
    TUNED: ("encoder", "policy", "tuned", "surface"),
    FAST: ("encoder", "surface"),
    SURFACE: ("surface",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return exit_code(given.run, given)


def run_fit(given: argparse.Namespace) -> int:
    """Fits a model. Writes nothing if there is too little to learn from."""
    started = time.monotonic()
    with reading(given.input) as source:
        read = contract.read_learnt(source)
    refused = [one for one in read if isinstance(one, Refused)]
    pairs = [one for one in read if isinstance(one, Preference)]
    rated = [one for one in read if isinstance(one, Rated)]
    tell_refused([str(one) for one in refused])
    tell(f"{len(pairs)} preferences, {len(rated)} ratings, {len(refused)} lines refused")
    if pairs and rated:
        raise InvalidArgument("give preferences or ratings, not both", reason="MIXED_LINES")
    if rated and given.features == TUNED:
        raise InvalidArgument(
            "the policy is tuned by preferences, not by ratings: give --features accurate",
            reason="NO_PREFERENCES",
            field="features",
        )
    extractors, weights = blocks(BLOCKS[given.features], threads=given.threads)
    options = Options(
        groups=given.groups,
        members=given.members,
        most_per_user=given.most_per_user,
        without_length=given.length == "remove",
        seed=given.seed,
    )
    if rated:
        model, figures = fit_ratings(rated, extractors, options, tell)
    else:
        fitted = fit(pairs, extractors, options, tell)
        model, figures = fitted.model, report(fitted)
    document = {"lines": len(read), "refused": len(refused), **figures}
    document["seconds"] = round(time.monotonic() - started, 1)
    _save(model, document, weights, extractors, Path(given.output), refused)
    summary(document, given.json, sys.stdout)
    return REFUSED if refused else OK


def run_score(given: argparse.Namespace) -> int:
    """Writes one line for each non-blank input line, in order, a chunk at a time."""
    model, weights = model_folder.load(Path(given.model))
    extractors, here = blocks(model.extractors, Path(given.model), given.threads)
    if here != weights:
        raise FailedPrecondition(
            "the model was fitted with different weights of"
            f" {', '.join(name for name in weights if here.get(name) != weights[name])}: point"
            " TRIMTAB_ENCODER and TRIMTAB_BASE_MODEL at the weights it was fitted with",
            reason="OTHER_WEIGHTS",
        )
    started, number, refused = time.monotonic(), 0, 0
    scored = 0
    with reading(given.input) as source, writing(given.output) as target:
        while chunk := list(islice(source, CHUNK)):
            read = contract.read_answers(chunk, number + 1)
            _score_chunk(model, extractors, read, target)
            number += len(chunk)
            bad = [str(one) for one in read if isinstance(one, Refused)]
            tell_refused(bad)
            refused, scored = refused + len(bad), scored + len(read) - len(bad)
            tell(f"{scored} answers scored")
    seconds = time.monotonic() - started
    document = {
        "scored": scored,
        "refused": refused,
        "seconds": round(seconds, 2),
        "answers_per_second": round(scored / max(seconds, 1e-9), 1),
    }
    summary(document, given.json, sys.stderr if given.output == "-" else sys.stdout)
    return REFUSED if refused else OK


def blocks(
    names: Sequence[str], model: Path | None = None, threads: int = 0
) -> tuple[list[Extractor], dict[str, str]]:
    """The named blocks of features, and digests of the networks behind them. What a block has learnt is read
    from the folder of `model`. `threads` compute; 0: one per core. Raises FailedPrecondition if a network is
    missing."""
    settings = load(CommonSettings)
    places = {"encoder": settings.encoder, "policy": settings.base_model}
    places["tuned"] = settings.base_model
    found: list[Extractor] = []
    weights: dict[str, str] = {}
    for name in names:
        if name not in places:
            found.append(Surface())
            continue
        path = places[name]
        if not (path / "config.json").is_file():
            raise FailedPrecondition(
                f"there is no {name} at {path}: run `make setup`, set TRIMTAB_ENCODER and"
                " TRIMTAB_BASE_MODEL, or fit with --features surface",
                reason="NO_NETWORK",
            )
        found.append(_network(name, path, model, threads))
        weights[name] = model_folder.digest(path)
    return found, weights


def _network(name: str, path: Path, model: Path | None, threads: int) -> Extractor:
    if name == "encoder":
        # Every answer is encoded only once, so nothing is cached.
        encoder = SentenceEncoder(path, max_tokens=MOST_TOKENS, threads=threads, cached=0)
        return EncodedAnswer(encoder)
    set_threads(threads)  # of torch, which takes seconds to import
    if name == "policy":
        return HiddenStates(path)
    from services.reward.adapters.tuned import TunedStates

    return TunedStates(path, model)


def _score_chunk(
    model: Model,
    extractors: Sequence[Extractor],
    read: Sequence[Answer | Refused],
    target: TextIO,
) -> None:
    answers = [one for one in read if not isinstance(one, Refused)]
    scores: list[str] = []
    if answers:
        rewards, spread, groups = model.score(extract(extractors, answers, lambda _: None))
        for at in range(len(answers)):
            of_groups = {name: float(values[at]) for name, values in groups.items()}
            scores.append(contract.score_line(float(rewards[at]), float(spread[at]), of_groups))
    lines = iter(scores)
    for one in read:
        line = contract.refused_line(one) if isinstance(one, Refused) else next(lines)
        target.write(line + "\n")
    target.flush()


def _save(
    model: Model,
    document: dict[str, Any],
    weights: dict[str, str],
    extractors: Sequence[Extractor],
    folder: Path,
    refused: Sequence[Refused],
) -> None:
    try:
        model_folder.save(model, document, weights, folder)
        for one in extractors:
            if isinstance(one, Learner):
                one.save(folder)
        write_lines(
            folder / "refused.jsonl",
            ({"line": one.line, "field": one.field, "problem": one.problem} for one in refused),
        )
    except OSError as error:
        raise InvalidArgument(
            f"cannot write to {folder}: {error}", reason="NOT_WRITABLE", field="output"
        ) from error


def _groups(value: str) -> int:
    """0 for auto."""
    if value == "auto":
        return 0
    if not value.isdecimal() or not 1 <= int(value) <= 20:
        raise argparse.ArgumentTypeError("must be auto or a number from 1 to 20")
    return int(value)


def _parser() -> argparse.ArgumentParser:
    parser, fitting = fit_and_score(
        "python -m services.reward.offline",
        run_fit,
        "fit a reward model on preferences",
        run_score,
        "score answers",
    )
    fitting.add_argument("--groups", type=_groups, default=0, help="auto, or how many")
    fitting.add_argument("--features", choices=tuple(BLOCKS), default=ACCURATE)
    fitting.add_argument("--length", choices=("keep", "remove"), default="keep")
    fitting.add_argument("--members", type=int, default=8, help="of the ensemble")
    fitting.add_argument("--most-per-user", type=int, default=50)
    return parser


if __name__ == "__main__":
    sys.exit(main())
