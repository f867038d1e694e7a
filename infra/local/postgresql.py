"""A PostgreSQL server for this stack, from the system's programs, with one database per service.

It survives the death of its processes but not of the machine: writes are not forced to disk.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from infra.local.settings import StackSettings

USER = "trimtab"
# Every service and replica has a connection pool.
CONNECTIONS = 300


class PostgresqlMissing(Exception):
    """PostgreSQL is not installed; the message says what to do about it."""


def programs() -> Path | None:
    """The folder with initdb and postgres, if installed: where pg_config says, or Debian's usual place."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)  # noqa: S603
        found.insert(0, Path(told.stdout.strip()))
    return next((folder for folder in found if (folder / "initdb").exists()), None)


def _program(name: str) -> str:
    folder = programs()
    if folder is None:
        raise PostgresqlMissing(
            "PostgreSQL is missing: install it, e.g. `apt-get install postgresql`,"
            " or set TRIMTAB_LOCAL_DATABASE=sqlite"
        )
    return str(folder / name)


def account() -> str:
    """The user that runs the server, which refuses to run as root. Empty: the current user."""
    if os.getuid() != 0:
        return ""
    return "postgres" if _is_known("postgres") else "nobody"


def command(settings: StackSettings) -> tuple[str, ...]:
    options = {
        "listen_addresses": settings.host,
        "port": settings.postgresql.port,
        # A socket would need a short path, and all clients connect by port.
        "unix_socket_directories": "",
        "max_connections": CONNECTIONS,
        "shared_buffers": "32MB",
        "fsync": "off",
        "full_page_writes": "off",
    }
    flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return (_program("postgres"), "-D", str(_folder(settings)), *flags)


def prepare(settings: StackSettings) -> None:
    """Creates the data folder the first time."""
    folder = _folder(settings)
    if (folder / "PG_VERSION").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if account():
        shutil.chown(folder, account())
    initdb = [_program("initdb"), "-D", str(folder), "-U", USER, "-A", "trust", "-E", "UTF8"]
    run_as(account(), [*initdb, "--locale=C.UTF-8", "--no-sync"])


def run_as(user: str, command: list[str]) -> None:
    """Raises CalledProcessError. `user`: the user that root switches to; empty: the current one."""
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **who)  # type: ignore[call-overload]  # noqa: S603


def url(settings: StackSettings, database: str) -> str:
    return f"postgresql+psycopg://{USER}@{settings.host}:{settings.postgresql.port}/{database}"


def make_databases(settings: StackSettings, names: Iterable[str]) -> None:
    """Creates the databases that are missing. The server must be running."""
    import psycopg
    from psycopg import sql

    where = {"host": settings.host, "port": settings.postgresql.port, "user": USER}
    with psycopg.connect(dbname="postgres", autocommit=True, **where) as connection:  # type: ignore[arg-type]
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in names:
            if name not in there:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _folder(settings: StackSettings) -> Path:
    return settings.data / "postgresql"


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
