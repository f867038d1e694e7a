"""Reads a file as `trimtab import` does, sends it nowhere, and prints what was read and the memory at its peak.

In a process of its own: memory that a test has used before must not hide what the import uses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from services.cli.adapters.files import LocalFiles
from services.cli.app.importing import Import, Importer
from services.cli.domain.formats import Reader
from services.cli.domain.records import Item


class Nowhere:
    """Takes everything and keeps nothing."""

    def send(self, items: Sequence[Item]) -> Nowhere:
        return self

    def refusals(self) -> list[tuple[int, str, str, str]]:
        return []


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    files = LocalFiles()
    progress = files.progress(source, {}, folder / "state.json")
    importer = Importer(Nowhere(), lambda seconds: None)
    work = Import(files, importer, Reader(), folder / "refused.jsonl", progress)
    done = work.all(source, 0, lambda record, sum_: None)
    told = {"turns": done.turns, "refused": done.refused, "unread": done.unread}
    print(json.dumps({**told, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Of this program alone: getrusage would count what the parent had before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


if __name__ == "__main__":
    main()
