"""What every command needs, and how it prints: tables for people, JSON for scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.table import Table

from services.cli.domain import Json
from services.cli.ports import ImportFiles, ImportTarget, Platform, Probe, RunProgram, Spooled
from shared.commandline.streams import reader_left, write_json
from shared.commandline.terminal import Terminal
from shared.language.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TrimtabError,
    Unauthenticated,
    Unavailable,
)
from shared.language.visible import visible

# Times to the second, in UTC; --json shows them in full.
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z$")

OK, ERROR, USAGE, NOT_FOUND, UNAVAILABLE = 0, 1, 2, 3, 4


@dataclass
class Session:
    """Made by main, or by a test with in-memory ports."""

    platform: Platform
    # Where an import goes: "grpc", "gateway", or "" for the one that is configured.
    import_target: Callable[[str], ImportTarget]
    files: ImportFiles
    probe: Probe
    run_program: RunProgram
    wait: Callable[[float], None]
    spooled: Spooled = lambda conversation_id: ()
    as_json: bool = False
    tenant: str = "local"
    out: Terminal = field(default_factory=lambda: terminal_for(sys.stdout.isatty()))
    err: Terminal = field(default_factory=lambda: Terminal(stderr=True))

    def show(self, document: Any, people: Callable[[], None]) -> None:
        """The one answer of a command."""
        if self.as_json:
            _write(document)
        else:
            people()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], none: str) -> None:
        """Columns that start with `>` are numbers."""
        found = [[_cell(value) for value in row] for row in rows]
        if not found:
            self.line(none)
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(
                column.removeprefix(">"), justify="right" if column.startswith(">") else "left"
            )
        for row in found:
            table.add_row(*row)
        self.out.print(table)

    def line(self, text: str) -> None:
        self.out.print(text)

    def note(self, text: str) -> None:
        """A line if there is something to say."""
        if text:
            self.line(text)


def _write(document: Any) -> None:
    try:
        write_json(document, sys.stdout, indent=2)
        sys.stdout.flush()
    except BrokenPipeError:  # typer would end with 1
        reader_left()


def terminal_for(is_one: bool) -> Terminal:
    """Tables into a pipe are not cut to a terminal's width."""
    return Terminal() if is_one else Terminal(width=200)


def session_of(context: typer.Context) -> Session:
    found = context.find_object(Session)
    if found is None:
        raise RuntimeError("the command was started without a session")
    return found


def exit_code(error: TrimtabError) -> int:
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, (Unavailable, DeadlineExceeded)):
        return UNAVAILABLE
    return USAGE if isinstance(error, InvalidArgument) else ERROR


def next_step(error: TrimtabError) -> str:
    """What to do next."""
    steps: list[tuple[type[TrimtabError], str]] = [
        (
            Unavailable,
            "`trimtab status` shows what is unavailable; `make up` starts the local stack",
        ),
        (DeadlineExceeded, "try again; `trimtab status` shows what is slow"),
        (NotFound, "the matching `list` command shows the names that exist"),
        (Unauthenticated, "set TRIMTAB_KEY to a valid API key; `trimtab keys create` makes one"),
        (
            PermissionDenied,
            "use a key with the role that is needed, and name the tenant with --tenant",
        ),
        (InvalidArgument, "the command's `--help` shows examples"),
        (FailedPrecondition, "`trimtab status` shows the current state"),
    ]
    for kind, words in steps:
        if isinstance(error, kind):
            return words
    return "look at the service's log (`make logs`)"


def report(error: TrimtabError, as_json: bool) -> int:
    """One line on standard error (a JSON object for scripts); returns the exit code."""
    step = next_step(error)
    if as_json:
        document: Json = {"reason": error.reason, "message": error.message, "next": step}
        write_json({"error": document}, sys.stderr)
    else:
        message = " ".join(visible(error.message).split())
        sys.stderr.write(f"error: {visible(error.reason)}: {message}. Next: {step}.\n")
    return exit_code(error)


def _cell(value: object) -> str:
    return "-" if value in (None, "") else _TIME.sub(r"\1 \2", str(value))
