"""`python -m infra.local COMMAND` controls the local stack."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from infra.local.parts import PartsError, build_parts
from infra.local.ports import PortTaken
from infra.local.postgresql import PostgresqlMissing
from infra.local.settings import load
from infra.local.stack import LocalStack, PartFailed, PartState

COLUMNS = "{:<12} {:<9} {:>8} {:>8} {:>6}  {}"


def setup(_: LocalStack, __: argparse.Namespace) -> None:
    build_parts()


def up(stack: LocalStack, options: argparse.Namespace) -> None:
    build_parts()
    stack.up(options.only)
    print(f"The stack is up. To use it from a shell: source {stack.settings.run_folder}/env")


def down(stack: LocalStack, _: argparse.Namespace) -> None:
    stack.down()


def restart(stack: LocalStack, options: argparse.Namespace) -> None:
    stack.restart(options.only)


def status(stack: LocalStack, options: argparse.Namespace) -> None:
    rows = stack.status()
    if options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
    else:
        print(as_table(rows))


def as_table(rows: list[PartState]) -> str:
    lines = [COLUMNS.format("PART", "STATE", "PID", "UPTIME", "PORT", "HEALTH")]
    for row in rows:
        pid, uptime = row.pid or "-", f"{row.uptime_s} s" if row.pid else "-"
        lines.append(COLUMNS.format(row.part, row.state, pid, uptime, row.port, row.health))
    return "\n".join(lines)


def logs(stack: LocalStack, options: argparse.Namespace) -> None:
    files = [str(stack.log_of(name)) for name in options.only or stack.programs]
    follow = [] if options.no_follow else ["-F"]
    os.execvp("tail", ["tail", "-n", "40", *follow, *files])  # noqa: S606, S607


def clean(stack: LocalStack, _: argparse.Namespace) -> None:
    stack.down()
    shutil.rmtree(stack.settings.data, ignore_errors=True)


COMMANDS = {
    "setup": (setup, "build missing parts"),
    "up": (up, "start the stack and wait until every health check passes"),
    "down": (down, "stop everything"),
    "restart": (restart, "stop and start parts, for example after a code change"),
    "status": (status, "show the state and health of each part"),
    "logs": (logs, "follow the logs"),
    "clean": (clean, "stop everything and remove the data folder"),
}


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    for name, (_, text) in COMMANDS.items():
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("--only", type=_names, default=[], help="comma-separated parts")
        one.add_argument("--data", type=Path, help="data folder of the stack")
        one.add_argument("--ports-offset", type=int, default=0, help="number to add to every port")
        one.add_argument("--json", action="store_true", help="status: print JSON")
        one.add_argument("--no-follow", action="store_true", help="logs: print and exit")
    return root


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> None:
    options = parser().parse_args()
    try:
        stack = LocalStack(load(options.data, ports_offset=options.ports_offset))
        COMMANDS[options.command][0](stack, options)
    except (PartsError, PortTaken, PartFailed, PostgresqlMissing, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
