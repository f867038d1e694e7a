"""What an import writes: the report of refused records, and its progress."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from services.cli.domain import Json
from services.cli.domain.records import Imported, Refused
from services.cli.domain.refusals import report_line


class ReportFile:
    """One JSON object for each refused record, with the record itself, to be corrected there and imported.
    Written as the import goes on; the first `size` bytes belong to what is done."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        if size or path.is_file():
            with path.open("ab") as file:
                file.truncate(size)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def add(self, refused: Sequence[Refused]) -> None:
        if not refused:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(report_line(one) for one in refused)


class ProgressFile:
    """How far an import has come: what was acknowledged, and nothing else. Removed at the end."""

    def __init__(self, path: Path, source: Path, options: Json) -> None:
        self._path = path
        self._of = {"source": str(source.absolute()), "options": options}

    def load(self) -> tuple[Imported, dict[str, int], int] | None:
        """The sum, records done by file, and the report's size; None if there is nothing to resume,
        or it is of another import."""
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if {name: held.get(name) for name in self._of} != self._of:
            return None
        return Imported(**held["sum"]), held["files"], held["report_bytes"]

    def save(self, done: Imported, files: dict[str, int], report_bytes: int) -> None:
        """After a kill the old state or the new one is there, never half of one."""
        held = {**self._of, "sum": asdict(done), "files": files, "report_bytes": report_bytes}
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(held), encoding="utf-8")
        fresh.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class NoProgress:
    """Of an import that cannot be continued."""

    def load(self) -> None:
        return None

    def save(self, done: Imported, files: dict[str, int], report_bytes: int) -> None:
        """Keeps nothing."""

    def remove(self) -> None:
        """There is nothing."""
