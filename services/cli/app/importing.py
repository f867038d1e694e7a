"""Imports records from files: in batches, several at a time, continuing an import that was interrupted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from services.cli.domain.formats import Reader
from services.cli.domain.records import Imported, Item, Record, Refused, of_policy
from services.cli.domain.refusals import unwrapped
from services.cli.ports import ImportFiles, ImportProgress, ImportTarget, RefusalReport, Sent
from shared.language.attempts import attempted
from shared.language.errors import (
    DeadlineExceeded,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)

# How often a batch is sent in all, if it has to be sent again.
ATTEMPTS = 8
_SAVE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with what it contains, or why it cannot be read."""

    record: Record
    said: Item | Refused


@dataclass
class Importer:
    """Sends records in batches, several at a time, and counts what was acknowledged, in order."""

    target: ImportTarget
    wait: Callable[[float], None]
    batch_messages: int = 500
    batch_bytes: int = 2_000_000
    in_flight: int = 4

    def run(
        self,
        entries: Iterable[Entry],
        done: Imported,
        told: Callable[[Sequence[Entry], Sequence[Refused]], None],
    ) -> None:
        """Adds to `done`. `told` is called for each batch once it is acknowledged, with what was refused of
        it. Raises an error that waiting does not resolve."""
        waiting: deque[tuple[list[Entry], Sent | None]] = deque()
        for batch in self._batches(entries):
            if len(waiting) >= self.in_flight:
                self._finish(*waiting.popleft(), done, told)
            items = _items(batch)
            waiting.append((batch, self.target.send(items) if items else None))
        while waiting:
            self._finish(*waiting.popleft(), done, told)

    def _batches(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        batch: list[Entry] = []
        messages = size = 0
        for entry in entries:
            batch.append(entry)
            messages += entry.said.messages if isinstance(entry.said, Item) else 1
            size += len(entry.record.raw)
            if messages >= self.batch_messages or size >= self.batch_bytes:
                yield batch
                batch, messages, size = [], 0, 0
        if batch:
            yield batch

    def _finish(
        self,
        batch: list[Entry],
        sent: Sent | None,
        done: Imported,
        told: Callable[[Sequence[Entry], Sequence[Refused]], None],
    ) -> None:
        found = self._answer(batch, sent) if sent else []
        taken = [entry for entry in batch if isinstance(entry.said, Item)]
        refused = [entry.said for entry in batch if isinstance(entry.said, Refused)]
        said = [Refused(taken[p].record, reason, text, name) for p, name, reason, text in found]
        refused += said
        _add(done, batch, {place for place, *_ in found}, refused)
        told(batch, sorted(refused, key=lambda one: (one.record.file, one.record.line)))

    def _answer(self, batch: list[Entry], sent: Sent) -> list[tuple[int, str, str, str]]:
        for _ in range(ATTEMPTS - 1):
            try:
                return sent.refusals()
            except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                self.wait(error.retry_after_s or 1.0)
                sent = self.target.send(_items(batch))
        return sent.refusals()


def _items(batch: Sequence[Entry]) -> list[Item]:
    return [entry.said for entry in batch if isinstance(entry.said, Item)]


def _add(done: Imported, batch: Sequence[Entry], bad: set[int], refused: list[Refused]) -> None:
    done.read += len(batch)
    items = _items(batch)
    for item in items:
        done.conversations += len(item.conversations)
        done.turns += sum(len(one.lines) for one in item.conversations)
        done.feedback += len(item.feedback)
        done.preferences += len(item.preferences)
        done.assessments += len(item.assessments)
    done.records += len(items) - len(bad)
    done.refused += len({(one.record.file, one.record.line) for one in refused})
    for one in refused:
        done.reasons[one.reason] = done.reasons.get(one.reason, 0) + 1


class Import:
    """One import; continues an earlier one that was interrupted."""

    def __init__(
        self,
        files: ImportFiles,
        importer: Importer,
        reader: Reader,
        report: Path,
        progress: ImportProgress,
        clock: Callable[[], float] = time.monotonic,
        policy: str = "",
    ) -> None:
        """`clock` in seconds, from any starting point. `policy`: to which everything belongs."""
        self._files, self._importer, self._reader = files, importer, reader
        self._progress, self._clock, self._policy = progress, clock, policy
        held = progress.load()
        self.done, self._done_of, size = held if held is not None else (Imported(), {}, 0)
        self.resumed = self.done.read
        self._report: RefusalReport = files.report(report, size)
        self._saved_at = clock()

    def all(
        self, path: Path | None, limit: int, told: Callable[[Record, Imported], None]
    ) -> Imported:
        """Imports `path`, or the chitchat chats. `told` is called for each batch that was acknowledged, with
        its last record and the sum so far."""
        left = limit - self.done.read if limit else None
        entries = self._entries(islice(self._records(path), left))

        def acknowledged(batch: Sequence[Entry], refused: Sequence[Refused]) -> None:
            self._note(batch, refused)
            told(batch[-1].record, self.done)

        self._importer.run(entries, self.done, acknowledged)
        self.done.ignored = self._reader.ignored.counts
        self._progress.remove()
        return self.done

    def _records(self, path: Path | None) -> Iterator[Record]:
        if path is None:
            yield from self._left(self._files.chitchat_records(), "chitchat")
            return
        for file in self._files.files_of(path):
            name = file.name if file == path else str(file.relative_to(path))
            yield from self._left(self._files.records_of(file, name), name)

    def _left(self, records: Iterator[Record], name: str) -> Iterator[Record]:
        """Without what was done before a break: that is only read again, as later records may refer to it."""
        for record in islice(records, self._done_of.get(name, 0)):
            attempted(self._entry, record)
        for record in records:
            if record.is_file and record.error is not None:
                self.done.unread[name] = record.error.message
            else:
                yield record

    def _entries(self, records: Iterable[Record]) -> Iterator[Entry]:
        """What each record contains, or why it is refused."""
        for record in records:
            found = attempted(self._entry, record)
            if isinstance(found, TrimtabError):
                found = Entry(record, Refused(record, found.reason, found.message, found.field))
            yield found

    def _entry(self, record: Record) -> Entry:
        if record.error is not None:
            raise record.error
        document, raw = unwrapped(record, self._files.parse(record.raw))
        if raw is not record.raw:
            record = replace(record, raw=raw)
            document = self._files.parse(raw) if isinstance(document, str) else document
        return Entry(record, of_policy(self._reader.read(document), self._policy))

    def _note(self, batch: Sequence[Entry], refused: Sequence[Refused]) -> None:
        """The report is written first, so that the progress never counts a refusal that the report lacks."""
        self._report.add(refused)
        for entry in batch:
            name = entry.record.file
            self._done_of[name] = self._done_of.get(name, 0) + 1
        if self._clock() - self._saved_at >= _SAVE_EVERY_S:
            self._progress.save(self.done, self._done_of, self._report.size)
            self._saved_at = self._clock()
