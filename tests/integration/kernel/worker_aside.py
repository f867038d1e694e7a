"""What test_aside.py starts: notes in the file ASIDE_NOTES what happens to it, a line each."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from shared.serving.aside import work_aside
from shared.state.database import Database

NOTES = Path(os.environ["ASIDE_NOTES"])


def note(line: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{line}\n")


def work(stop: threading.Event) -> None:
    note(f"began {os.getpid()}")
    stop.wait()
    note("told to stop")


if __name__ == "__main__":
    database = Database("sqlite://")
    database.after_commit(lambda: note("woken"))
    work_aside("aside", [("work", work)], database, drain_s=5.0)
    note("ended")
