"""A PostgreSQL server in a temporary folder, from Debian's programs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.settings import free_ports

_QUICK = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, if they are installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        found.insert(0, Path(told.stdout.strip()))
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@contextmanager
def server(bin_folder: Path) -> Iterator[str]:
    """Yields its URL, database included; stopped and removed at the end. Not in pytest's own temporary
    folder, which only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="trimtab-postgres-") as folder:
        yield from _serve(bin_folder, Path(folder))


def _serve(bin_folder: Path, data: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    user = _user(data)
    initdb = [bin_folder / "initdb", "-D", data, "-U", "trimtab", "-A", "trust", "-E", "UTF8"]
    _run(user, [*initdb, "--locale=C.UTF-8", "--no-sync"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {data} {_QUICK}"
    control = [bin_folder / "pg_ctl", "-D", data, "-w", "-l", data / "server.log"]
    _run(user, [*control, "-o", options, "start"])
    try:
        yield f"postgresql+psycopg://trimtab@127.0.0.1:{port}/postgres"
    finally:
        _run(user, [*control, "-m", "immediate", "stop"])


def _user(data: Path) -> str:
    """The user that runs the server: it refuses to run as root, so root gives the folder to another user."""
    me = pwd.getpwuid(os.getuid()).pw_name
    if me != "root":
        return me
    user = "postgres" if _known("postgres") else "nobody"
    shutil.chown(data, user)
    return user


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _run(user: str, command: list[str | Path]) -> None:
    root = os.getuid() == 0 and user != "root"
    subprocess.run(
        [str(word) for word in command],
        check=True,
        cwd="/",
        user=user if root else None,
        group=pwd.getpwnam(user).pw_gid if root else None,
        extra_groups=[] if root else None,
        stdout=subprocess.DEVNULL,
    )
