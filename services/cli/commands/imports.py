"""trimtab import"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from services.cli.adapters.files import chitchat_records, files_of, parse, records_of
from services.cli.adapters.journals import Report, StateFile, unwrapped
from services.cli.app import Entry, Importer
from services.cli.domain import Json
from services.cli.domain.formats import FORMATS, Reader
from services.cli.domain.records import Imported, Record, Refused
from services.cli.session import ERROR, Session, session_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id

_SAVE_EVERY_S = 2.0
_THROUGH = ("grpc", "gateway")


def import_(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="A file or a folder.")] = None,
    chitchat: Annotated[
        bool, typer.Option("--chitchat", help="The human chats of the package chitchat-dataset.")
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", help=f"auto, or one of {', '.join(FORMATS)}.")
    ] = "auto",
    through: Annotated[
        str, typer.Option(help="grpc or gateway; by default gateway if only its URL is set.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many records; 0: all.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Messages a call.")] = 500,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Calls at a time.")] = 4,
    refused: Annotated[
        Path, typer.Option(help="Where refused records go; mend them there and import it.")
    ] = Path("refused.jsonl"),
    state: Annotated[
        Path | None, typer.Option(help="Where is kept how far it has come; gone at the end.")
    ] = None,
) -> None:
    """Bring conversations, feedback and preferences in from files.

    \b
    JSON lines, a JSON array, or JSON objects; plain, .gz or .zst. Formats, found by themselves record
    by record: openai, sharegpt, wildchat, lmsys, arena, langfuse, trl-preference, trl-unpaired,
    convai2. What each field becomes is in services/cli/README.md.
    The same file twice counts once: ids come from the file, else from the content. After a break the
    same command goes on where it was. What is refused is listed with file, line, field, reason and
    the record itself, and the rest goes on (exit code 1): mend it in the list, import the list.

    \b
    Examples:
      trimtab import conversations.jsonl.zst
      trimtab import exports/ --refused to-mend.jsonl
      trimtab import to-mend.jsonl --refused still-bad.jsonl
      trimtab import sharegpt.json --format sharegpt --limit 1000 --through gateway
      trimtab import --chitchat --limit 500
    """
    session = session_of(context)
    _check(path, chitchat, format_name, through, refused)
    importer = Importer(session.door(through), session.wait, batch, in_flight=in_flight)
    options: Json = {"format": format_name, "limit": limit, "tenant": session.tenant}
    run = _Run(session, importer, path, Reader(format_name), refused, state, options)
    done = run.all(limit)
    document = {**asdict(done), "report": str(refused) if done.refused else ""}
    session.show(document, lambda: _people(session, done, refused))
    if done.refused:
        raise typer.Exit(ERROR)


class _Run:
    """One import, from where the one before it broke off."""

    def __init__(
        self,
        session: Session,
        importer: Importer,
        path: Path | None,
        reader: Reader,
        report: Path,
        state: Path | None,
        options: Json,
    ) -> None:
        self._session, self._importer, self._path, self._reader = session, importer, path, reader
        source = path or Path("chitchat")
        where = state or Path(
            f".trimtab-import-{stable_id(str(source.absolute()), length=10)}.json"
        )
        self._state = StateFile(where, source, options)
        held = self._state.load()
        self.done, self._files, size = held if held is not None else (Imported(), {}, 0)
        self.resumed = self.done.read
        self._report = Report(report, size)
        self._saved_at = time.monotonic()

    def all(self, limit: int) -> Imported:
        left = limit - self.done.read if limit else None
        entries = entries_of(islice(self._records(), left), self._reader)
        columns = (SpinnerColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._session.err, disable=self._session.as_json) as shown:
            task, began = shown.add_task("importing"), time.monotonic()

            def told(batch: Sequence[Entry], refused: Sequence[Refused]) -> None:
                self._note(batch, refused)
                rate = self.done.read - self.resumed
                rate = round(rate / max(time.monotonic() - began, 1e-9))
                shown.update(task, description=_progress(batch[-1].record, self.done, rate))

            self._importer.run(entries, self.done, told)
        self._state.remove()
        return self.done

    def _records(self) -> Iterator[Record]:
        if self._path is None:
            yield from islice(chitchat_records(), self._files.get("chitchat", 0), None)
            return
        for file in files_of(self._path):
            name = file.name if self._path.is_file() else str(file.relative_to(self._path))
            yield from islice(records_of(file, name), self._files.get(name, 0), None)

    def _note(self, batch: Sequence[Entry], refused: Sequence[Refused]) -> None:
        """The report first: a state never claims what the report lacks."""
        self._report.add(refused)
        for entry in batch:
            self._files[entry.record.file] = self._files.get(entry.record.file, 0) + 1
        if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._state.save(self.done, self._files, self._report.size)
            self._saved_at = time.monotonic()


def entries_of(records: Iterable[Record], reader: Reader) -> Iterator[Entry]:
    """What each record says, or why it is refused."""
    for record in records:
        try:
            if record.error is not None:
                raise record.error
            document, raw = unwrapped(record, parse(record.raw))
            if raw is not record.raw:
                record = replace(record, raw=raw)  # noqa: PLW2901
                document = parse(raw) if isinstance(document, str) else document
            yield Entry(record, reader.read(document))
        except InvalidArgument as error:
            yield Entry(record, Refused(record, error.reason, error.message, error.field))


def _check(
    path: Path | None, chitchat: bool, format_name: str, through: str, refused: Path
) -> None:
    if (path is None) != chitchat:
        raise InvalidArgument("give a PATH, or --chitchat", reason="USAGE")
    if format_name not in ("auto", *FORMATS):
        raise InvalidArgument(f"--format is auto, or one of {', '.join(FORMATS)}", reason="USAGE")
    if through not in ("", *_THROUGH):
        raise InvalidArgument("--through is grpc or gateway", reason="USAGE")
    if path is not None:
        files_of(path)
        if path.absolute() == refused.absolute():
            raise InvalidArgument(
                "a list of refused records can not be its own list; give --refused another file",
                reason="USAGE",
            )


def _progress(record: Record, done: Imported, rate: int) -> str:
    bad = f", {done.refused} refused" if done.refused else ""
    return f"{record.file}:{record.line}  {done.read} records, {done.turns} turns{bad}, {rate}/s"


def _people(session: Session, done: Imported, report: Path) -> None:
    session.line(
        f"{done.records} of {done.read} records came in: {done.conversations} conversations with"
        f" {done.turns} turns, {done.feedback} of feedback, {done.preferences} preferences."
    )
    if done.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.reasons.items()))
        session.line(f"{done.refused} refused ({reasons}); they are in {report}, to be mended.")
