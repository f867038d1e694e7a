"""`make bench-ingest`, second half: a large file through `trimtab import`. One JSON line a figure.

import.rate        messages/s from the start of the command until Kafka held the last
import.memory      resident memory at most: the importer's, and the interaction service's, for a file of
                   a tenth of the size and for the whole
import.stored      messages/s from the start of the larger import until all of it was in the store
import.found       messages that an independent reader (plain sqlite3) found in the store afterwards

The importer, the interaction service, Kafka and the reader share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil

from tests.benchmarks.ingest import Bench, running, say
from tests.benchmarks.turns import MESSAGE_BYTES, TURNS_A_CONVERSATION

PATIENCE_S = 900.0
COMMAND = [str(Path(sys.executable).with_name("trimtab")), "--json", "import"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=1000, help="size of the file")
    given = parser.parse_args()
    with running() as bench:
        small = write(bench.folder / "small.jsonl", given.mb // 10, "small")
        large = write(bench.folder / "large.jsonl", given.mb, "large")
        measure(bench, bench.folder / "small.jsonl", small)
        until_stored(bench, small)
        began = measure(bench, bench.folder / "large.jsonl", large)
        say("import.stored", large / (until_stored(bench, small + large) - began), "messages/s")
        check_found(bench, small + large)


def write(file: Path, megabytes: int, name: str) -> int:
    """OpenAI JSON lines; returns how many messages they hold."""
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghij", k=chance.randint(2, 9))) for _ in range(5_000)]
    texts = [" ".join(chance.choices(words, k=MESSAGE_BYTES // 4)) for _ in range(1_000)]
    messages = 0
    with file.open("w") as out:
        while out.tell() < megabytes * 1_000_000:
            number = messages // TURNS_A_CONVERSATION
            said = [
                {"role": ("user", "assistant")[place % 2], "content": text[:MESSAGE_BYTES]}
                for place, text in enumerate(chance.choices(texts, k=TURNS_A_CONVERSATION))
            ]
            record = {"id": f"{name}-{number}", "user": f"user-{number % 500}", "messages": said}
            out.write(json.dumps(record) + "\n")
            messages += TURNS_A_CONVERSATION
    return messages


def measure(bench: Bench, file: Path, messages: int) -> float:
    """When it began."""
    env = {**os.environ, **bench.stack.env()}
    began = time.monotonic()
    importing = subprocess.Popen(
        [*COMMAND, str(file), "--through", "grpc"],
        cwd=bench.folder, env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    importer_mb = interaction_mb = 0.0
    while importing.poll() is None:
        own = psutil.Process(importing.pid).memory_info().rss / 2**20
        importer_mb, interaction_mb = max(importer_mb, own), max(interaction_mb, bench.memory_mb())
        time.sleep(0.2)
        if time.monotonic() - began > PATIENCE_S:
            importing.kill()
    ended = time.monotonic()
    assert importing.stdout is not None
    told = json.loads(importing.stdout.read() or "{}")
    if importing.returncode:
        raise SystemExit(f"the import failed: {told}")
    megabytes = round(file.stat().st_size / 1e6)
    say("import.rate", messages / (ended - began), "messages/s", file_mb=megabytes)
    say("import.memory", importer_mb, "MB", of="importer", file_mb=megabytes)
    say("import.memory", interaction_mb, "MB", of="interaction", file_mb=megabytes)
    return began


def until_stored(bench: Bench, messages: int) -> float:
    """When the store held so many."""
    deadline = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(bench.store, uri=True)) as reader:
        while True:
            (held,) = reader.execute("SELECT coalesce(max(seq), 0) FROM turns").fetchone()
            if held >= messages or time.monotonic() > deadline:
                return time.monotonic()
            time.sleep(0.1)


def check_found(bench: Bench, messages: int) -> None:
    with closing(sqlite3.connect(bench.store, uri=True)) as reader:
        (held,) = reader.execute("SELECT count(*) FROM turns").fetchone()
    say("import.found", held, "messages", missing=messages - held)
    if held != messages:
        raise SystemExit("the store does not hold what was imported")


if __name__ == "__main__":
    main()
