"""What sealing costs an event, in µs on one core: `python -m tests.benchmarks.sealing`.

Events of 700 bytes in batches of 500, as intake publishes them; the keyring is a SQLite file. Each
figure is the best of five rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from shared.log.events import Event, Partition, Record
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import seal, unseal
from shared.vault.sql_keyring import SqlKeyring

EVENTS, BATCH, ROUNDS = 10_000, 500, 5


def event(number: int, user: str) -> Event:
    owner, key = f"tenants/local/users/{user}", f"tenants/local/conversations/c{number % 100}"
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    now = datetime.now(UTC)
    return Event("bench.v1", f"e{number}", key, b"x" * 700, "bench", now, headers, owner)


def best(work: Callable[[int], object]) -> float:
    """µs an event; `work` does one batch, beginning with the given event."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for first in range(0, EVENTS, BATCH):
            work(first)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / EVENTS * 1e6


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keyring = CachedKeyring(SqlKeyring(f"sqlite:///{Path(folder) / 'keys.db'}"))
        events = [event(number, f"u{number % 1000}") for number in range(EVENTS)]
        sealed = [
            one for n in range(0, EVENTS, BATCH) for one in seal(events[n : n + BATCH], keyring)
        ]
        records = [Record(one, Partition("bench.v1", 0), n) for n, one in enumerate(sealed)]
        sealing = best(lambda n: seal(events[n : n + BATCH], keyring))
        opening = best(lambda n: unseal(records[n : n + BATCH], keyring))
        print(f"seal {sealing:.1f} µs, open {opening:.1f} µs an event")
        new = [event(number, f"new{number}") for number in range(EVENTS)]
        began = time.perf_counter()
        for first in range(0, EVENTS, BATCH):
            seal(new[first : first + BATCH], keyring)
        print(f"a new user's key {(time.perf_counter() - began) / EVENTS * 1e6:.1f} µs, once")


if __name__ == "__main__":
    main()
