"""trimtab import"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.adapters.files import count, read_chitchat, read_file, write_report
from services.cli.app import Importer
from services.cli.domain import FORMATS, Imported, Item, Refused
from services.cli.session import ERROR, Session, session_of
from shared.errors import InvalidArgument, NotFound

CHITCHAT = 4018


def import_(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="JSON lines, or one JSON array.")] = None,
    chitchat: Annotated[
        bool, typer.Option("--chitchat", help="The human chats of the package chitchat-dataset.")
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", help=f"auto, {' or '.join(FORMATS)}.")
    ] = "auto",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Conversations a request.")] = 50,
    refused: Annotated[
        Path, typer.Option(help="Where refused conversations are listed, one JSON object a line.")
    ] = Path("refused.jsonl"),
) -> None:
    """Bring conversations in through the gateway, as a product team would (key: TRIMTAB_KEY).

    \b
    Formats, found by themselves:
      openai    {"messages": [{"role": "user", "content": "..."}], "user": "...", "id": "..."}
      sharegpt  {"conversations": [{"from": "human", "value": "..."}], "id": "..."}
    The same file twice counts once: ids come from the file, else from the content. A gateway that
    is not ready is asked again; what it refuses is listed and the rest goes on (exit code 1).

    \b
    Examples:
      trimtab import conversations.jsonl
      trimtab import sharegpt.json --format sharegpt --limit 1000
      trimtab import --chitchat --limit 500
    """
    session = session_of(context)
    items, total = _source(file, chitchat, format_name)
    if limit:
        items, total = islice(items, limit), min(total, limit)
    done = _run(session, Importer(session.gateway, session.wait, batch), items, total)
    if done.refused:
        write_report(refused, done.refused)
    document = {
        "read": done.read,
        "accepted": done.accepted,
        "turns": done.turns,
        "refused": len(done.refused),
        "report": str(refused) if done.refused else "",
    }
    session.show(document, lambda: _people(session, done, refused))
    if done.refused:
        raise typer.Exit(ERROR)


def _source(
    file: Path | None, chitchat: bool, format_name: str
) -> tuple[Iterator[Item | Refused], int]:
    if (file is None) != chitchat:
        raise InvalidArgument("give a FILE, or --chitchat", reason="USAGE")
    if format_name not in ("auto", *FORMATS):
        raise InvalidArgument(f"--format is auto, {' or '.join(FORMATS)}", reason="USAGE")
    if file is None:
        return read_chitchat(), CHITCHAT
    if not file.is_file():
        raise NotFound(f"there is no file {file}", reason="FILE_NOT_FOUND")
    return read_file(file, format_name), count(file)


def _run(
    session: Session, importer: Importer, items: Iterator[Item | Refused], total: int
) -> Imported:
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=session.err, disable=session.as_json) as progress:
        task = progress.add_task("", total=total, rate="")

        def told(done: Imported) -> None:
            elapsed = progress.tasks[0].elapsed or 0.0
            rate = f"{done.read / elapsed:.0f}/s" if elapsed else ""
            progress.update(task, completed=done.read, rate=rate)

        return importer.run(items, told)


def _people(session: Session, done: Imported, report: Path) -> None:
    session.line(f"{done.accepted} of {done.read} conversations came in, {done.turns} turns.")
    if done.refused:
        session.line(f"{len(done.refused)} refusals, with reasons, are in {report}.")
