"""A PostgreSQL server in a temporary folder, from the system's programs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.ports import free_ports
from infra.local.postgresql import account, programs, run_as

__all__ = ["programs", "server"]
_QUICK = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


@contextmanager
def server(bin_folder: Path) -> Iterator[str]:
    """Yields its URL, database included; stopped and removed at the end. Not in pytest's own temporary
    folder, which only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="trimtab-postgres-") as folder:
        yield from _serve(bin_folder, Path(folder))


def _serve(bin_folder: Path, data: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    if account():
        shutil.chown(data, account())
    initdb: list[str | Path] = [
        bin_folder / "initdb",
        "-D",
        data,
        "-U",
        "trimtab",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    _run([*initdb, "--locale=C.UTF-8", "--no-sync"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {data} {_QUICK}"
    control: list[str | Path] = [bin_folder / "pg_ctl", "-D", data, "-w", "-l", data / "server.log"]
    _run([*control, "-o", options, "start"])
    try:
        yield f"postgresql+psycopg://trimtab@127.0.0.1:{port}/postgres"
    finally:
        _run([*control, "-m", "immediate", "stop"])


def _run(command: list[str | Path]) -> None:
    run_as(account(), [str(word) for word in command])
