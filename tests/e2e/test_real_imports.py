"""Import of real chats, twice: their counts, and that nothing doubles.

Needs a folder with `real_llm_chats`, `convai2` and `hh_harmless`, named by TRIMTAB_REAL_DATA; skipped without
it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.local.paths import REPO
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack

DATA = os.environ.get("TRIMTAB_REAL_DATA", "")
FOLDERS = ("real_llm_chats", "convai2", "hh_harmless")

pytestmark = pytest.mark.skipif(not DATA, reason="TRIMTAB_REAL_DATA names no folder")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("real")))
    try:
        made.up(only=["kafka", "interaction"], timeout_s=90)
        yield made
    finally:
        made.discard()


def imported(stack: LocalStack, path: Path, folder: Path) -> dict[str, Any]:
    line = (sys.executable, "-m", "services.cli.main", "import", str(path), "--json")
    more = ("--refused", str(folder / "refused.jsonl"), "--state", str(folder / "state.json"))
    ran = subprocess.run(
        (*line, *more, "--through", "grpc"),
        env={**os.environ, **stack.env()},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    done: dict[str, Any] = json.loads(ran.stdout)
    return done


class Store:
    """What the store holds, read past the service that writes it."""

    def __init__(self, stack: LocalStack) -> None:
        url = stack.env()["TRIMTAB_INTERACTION_DATABASE_URL"]
        self._path = f"file:{url.removeprefix('sqlite:///')}?mode=ro"

    def settled(self, quiet_s: float = 5.0, within_s: float = 60.0) -> tuple[int, int]:
        """(conversations, turns), once neither has changed for a while."""
        deadline, held, since = time.monotonic() + within_s, (0, 0), time.monotonic()
        while time.monotonic() < deadline:
            found = self._held()
            if found != held:
                held, since = found, time.monotonic()
            elif time.monotonic() - since > quiet_s:
                return held
            time.sleep(0.2)
        raise AssertionError(f"the store still grows: {held}")

    def _held(self) -> tuple[int, int]:
        with closing(sqlite3.connect(self._path, uri=True)) as reader:
            conversations, turns = (
                reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("conversations", "turns")
            )
            return conversations, turns


def test_real_chats_come_in_once(stack: LocalStack, tmp_path: Path) -> None:
    store = Store(stack)
    files = sorted(one for name in FOLDERS for one in (Path(DATA) / name).glob("*.gz"))
    assert files, f"no file in {DATA}"
    first = {one.name: imported(stack, one, tmp_path) for one in files}
    once = store.settled()
    for name, done in first.items():
        print(name, {key: value for key, value in done.items() if key != "report"})
        assert done["records"] + done["refused"] == done["read"]
        assert done["records"] > 0.9 * done["read"]
    print("stored", once)
    again = {one.name: imported(stack, one, tmp_path) for one in files}
    assert again == first
    assert store.settled() == once
