"""What offline commands (those that need no running platform) share: options, exit codes, errors, summary."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from shared.commandline.line_files import tell
from shared.commandline.streams import forgive, reader_left, write_json
from shared.language.errors import InvalidArgument, NotFound, TrimtabError
from shared.language.visible import visible

# The exit codes of `trimtab`. REFUSED: some or all lines were refused.
OK, REFUSED, USAGE, NOT_FOUND = 0, 1, 2, 3


def exit_code(run: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Runs a command that takes the options below; returns its exit code. Prints a TrimtabError to standard
    error; other errors are raised. Ends the process with OK if the reader of our output has seen enough."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    forgive()
    try:
        code = run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        reader_left()
    except TrimtabError as error:
        if given.json:
            document = {"reason": error.reason, "message": error.message}
            write_json({"error": document}, sys.stderr)
        else:
            tell(f"error: {error.reason}: {error.message}")
        return {NotFound: NOT_FOUND, InvalidArgument: USAGE}.get(type(error), REFUSED)


Command = Callable[[argparse.Namespace], int]


def fit_and_score(
    program: str, fit: Command, fit_help: str, score: Command, score_help: str
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of a program with the commands `fit` and `score`, whose `run` is what they do; and that of
    `fit`, to add its own options to."""
    parser = argparse.ArgumentParser(prog=program)
    commands = parser.add_subparsers(required=True)
    fitting = commands.add_parser("fit", help=fit_help)
    fitting.set_defaults(run=fit)
    fitting.add_argument("--output", required=True, help="folder for what is fitted")
    fitting.add_argument("--seed", type=int, default=0)
    scoring = commands.add_parser("score", help=score_help)
    scoring.set_defaults(run=score)
    scoring.add_argument("--model", required=True, help="folder that a fit wrote")
    scoring.add_argument("--output", required=True, help="JSON lines; - is standard output")
    for command in (fitting, scoring):
        command.add_argument("--input", required=True, help="JSON lines; - is standard input")
        command.add_argument("--threads", type=int, default=0, help="0: one per core")
        command.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser, fitting


def summary(document: Mapping[str, Any], as_json: bool, target: TextIO) -> None:
    if as_json:
        write_json(document, target)
        return
    for name, value in document.items():
        target.write(visible(f"{name.replace('_', ' '):22s} {_words(value)}\n"))


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "-"
    return "-" if value is None else str(value)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def set_threads(count: int) -> None:
    """Sets torch's threads; 0: one for each core."""
    import torch

    torch.set_num_threads(count or cores())
