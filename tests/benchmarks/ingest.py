"""`make bench-ingest`: durable ingest through gRPC on the cores at hand. One JSON line a figure.

ingest.acknowledged   turns/s that LogTurns acknowledged (Kafka has them, acks=all)
ingest.stored         turns/s from the first call until all of them were in the store
ingest.found          acknowledged turns that an independent reader (plain sqlite3) found exactly once
queryable.p50, .p99   seconds from the acknowledgement until that reader sees the turn, at --rate
cpu.*                 time of the cores that each part used for one turn, from its call to its storing
memory.start, .end    resident memory of the interaction service before and after that
phoenix, mlflow       what these stored a second of what they were sent, and how many times as many turns
                      were acknowledged, and stored, here

The load generator, the interaction service, Kafka and the reader share the machine. The peers run
after them, each in an environment of its own that is built for it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from tests.benchmarks import peers
from tests.benchmarks.turns import number_of

POLL_S = 0.02
PATIENCE_S = 120.0
WARM_UP = 30_000


@dataclass(frozen=True, slots=True)
class Bench:
    """A stack of Kafka and interaction alone."""

    folder: Path
    stack: LocalStack

    @property
    def address(self) -> str:
        return self.stack.env()["TRIMTAB_INTERACTION_ADDRESS"]

    @property
    def store(self) -> str:
        url = self.stack.env()["TRIMTAB_INTERACTION_DATABASE_URL"]
        return f"file:{url.removeprefix('sqlite:///')}?mode=ro"

    def memory_mb(self) -> float:
        """Of interaction, both of its processes; what they share counts once."""
        resident = sum(one.memory_full_info().pss for one in self._processes("interaction"))
        return round(resident / 2**20, 1)

    def cpu_s(self) -> dict[str, float]:
        """What each part has used of the cores so far."""
        taking_in, storing = self._processes("interaction")
        (kafka,) = self._processes("kafka")
        parts = {"interaction": taking_in, "storing": storing, "kafka": kafka}
        used = {name: part.cpu_times() for name, part in parts.items()}
        return {name: times.user + times.system for name, times in used.items()}

    def _processes(self, part: str) -> list[psutil.Process]:
        (row,) = (one for one in self.stack.status() if one.part == part)
        process = psutil.Process(row.pid)
        return [process, *process.children()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="turns/s for queryable")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long at that rate")
    parser.add_argument("--operations", type=int, default=5_000, help="spans sent to each peer")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    with running() as bench:
        ours_per_s = full_speed(bench, given.turns)
    if given.seconds:
        with running() as bench:
            steady(bench, given.rate, given.seconds)
    if not given.no_peers:
        peers.compare(ours_per_s, given.operations, say)


@contextmanager
def running() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        stack = LocalStack(load_on_free_ports(Path(folder)), say=lambda _: None)
        try:
            stack.up(only=["kafka", "interaction"], timeout_s=120)
            yield Bench(Path(folder), stack)
        finally:
            stack.down()


def full_speed(bench: Bench, turns: int) -> dict[str, float]:
    """Turns/s acknowledged and stored, after a warm-up: Kafka's JVM compiles while it runs."""
    until_stored(bench, WARM_UP, generate(bench, WARM_UP, "--first", str(turns)))
    before = bench.cpu_s()
    generator = generate(bench, turns)
    stored_at = until_stored(bench, WARM_UP + turns, generator)
    told = outcome(generator)
    used = {name: cpu_s - before[name] for name, cpu_s in bench.cpu_s().items()}
    used["load"] = told["cpu_s"]
    per_s = {
        "acknowledged": told["acknowledged"] / (told["ended"] - told["began"]),
        "stored": told["acknowledged"] / (stored_at - told["began"]),
    }
    for name, value in per_s.items():
        say(f"ingest.{name}", value, "turns/s")
    for name, cpu_s in used.items():
        say(f"cpu.{name}", cpu_s / turns * 1e6, "us/turn")
    check_found(bench)
    return per_s


def steady(bench: Bench, rate: float, seconds: float) -> None:
    warm_up = int(5 * rate)
    turns = warm_up + int(rate * seconds)
    generator = generate(bench, turns, "--rate", str(rate))
    seen, start_mb = array("d", bytes(8 * turns)), 0.0
    last, left = 0, turns
    with closing(sqlite3.connect(bench.store, uri=True)) as reader:
        deadline = time.monotonic() + turns / rate + PATIENCE_S
        while left and time.monotonic() < deadline:
            rows = reader.execute(
                "SELECT seq, conversation_id, turn_id FROM turns WHERE seq > ?", (last,)
            ).fetchall()
            now = time.monotonic()
            for seq, conversation, turn in rows:
                seen[number_of(conversation, turn)] = now
                last = max(last, seq)
            left -= len(rows)
            if not start_mb and turns - left >= warm_up:
                start_mb = bench.memory_mb()
            time.sleep(POLL_S)
    told = outcome(generator)
    acknowledged = array("d", (bench.folder / "acknowledged").read_bytes())
    waits = sorted(
        max(0.0, at - said) for at, said in zip(seen, acknowledged, strict=True) if at and said
    )
    if len(waits) != told["acknowledged"]:
        raise SystemExit(f"{told['acknowledged'] - len(waits)} acknowledged turns were not seen")
    say("queryable.p50", waits[len(waits) // 2], "s", digits=3, rate=rate, turns=len(waits))
    say("queryable.p99", waits[int(len(waits) * 0.99)], "s", digits=3, rate=rate, turns=len(waits))
    say("memory.start", start_mb, "MB", digits=1)
    say("memory.end", bench.memory_mb(), "MB", digits=1)
    check_found(bench)


def generate(bench: Bench, turns: int, *options: str) -> subprocess.Popen[str]:
    output = bench.folder / "acknowledged"
    command = [sys.executable, "-m", "tests.benchmarks.turns", bench.address, str(output)]
    command += ["--turns", str(turns), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def outcome(generator: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = generator.communicate(timeout=PATIENCE_S)
    if generator.returncode or not said:
        raise SystemExit("the load generator failed")
    told: dict[str, float] = json.loads(said)
    return told


def until_stored(bench: Bench, turns: int, generator: subprocess.Popen[str]) -> float:
    """When the store held all turns; refuses to wait for ever."""
    deadline = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(bench.store, uri=True)) as reader:
        while True:
            (held,) = reader.execute("SELECT coalesce(max(seq), 0) FROM turns").fetchone()
            if held >= turns:
                return time.monotonic()
            if time.monotonic() > deadline or generator.poll() not in (None, 0):
                raise SystemExit(f"only {held} of {turns} turns were stored")
            time.sleep(POLL_S)


def check_found(bench: Bench) -> None:
    """Every acknowledged turn is in the store exactly once."""
    acknowledged = array("d", (bench.folder / "acknowledged").read_bytes())
    wanted = {number for number, at in enumerate(acknowledged) if at}
    with closing(sqlite3.connect(bench.store, uri=True)) as reader:
        rows = reader.execute("SELECT conversation_id, turn_id FROM turns")
        found = Counter(number_of(*row) for row in rows)
    doubled = sum(1 for times in found.values() if times > 1)
    missing = len(wanted - found.keys())
    say("ingest.found", len(wanted) - missing, "turns", missing=missing, doubled=doubled)
    if missing or doubled:
        raise SystemExit("the store does not hold what was acknowledged")


def say(name: str, value: float, unit: str, digits: int = 0, **more: object) -> None:
    rounded = round(value, digits) if digits else round(value)
    print(json.dumps({"name": name, "value": rounded, "unit": unit, **more}), flush=True)


if __name__ == "__main__":
    main()
