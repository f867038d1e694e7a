"""`trimtab`, the command line of the platform. This module is the only wiring.

--json and --tenant may be given anywhere on the line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from services.cli.adapters import surroundings
from services.cli.adapters.files import LocalFiles
from services.cli.adapters.grpc_import import GrpcImport
from services.cli.adapters.grpc_platform import GrpcPlatform
from services.cli.adapters.http_import import HttpImport
from services.cli.adapters.http_spool import HttpSpool
from services.cli.adapters.net_probe import NetProbe
from services.cli.adapters.programs import run_program
from services.cli.app.platform import SERVICES
from services.cli.commands import (
    conversations,
    deadletters,
    drift,
    feedback,
    groups,
    imports,
    keys,
    models,
    personas,
    policies,
    retrain,
    reward,
    status,
    users,
)
from services.cli.commands.session import ERROR, OK, USAGE, Session, report
from services.cli.ports import ImportTarget
from shared.calls.client import Calling, calling_of
from shared.commandline.streams import forgive
from shared.configuration.settings import CommonSettings
from shared.language.errors import TrimtabError
from shared.language.keys import KEY_PREFIX

_HELP = """Trimtab: from conversations to a better assistant, and back if it got worse.

\b
--json       one JSON document on standard output, with the names of the protos
--tenant T   whose data; by default TRIMTAB_TENANT, or "local" if that is not set
Both may be given anywhere on the line.
\b
Addresses come from TRIMTAB_* variables, then from .trimtab/local/env (written by `make up`) in this
folder or one above it, then from the defaults.
\b
Exit codes: 0 success, 1 error, 2 wrong usage, 3 not found, 4 a service is unavailable.
\b
Examples:
  trimtab status
  trimtab import conversations.jsonl
  trimtab retrain start --reason "new guideline" --wait
  trimtab models list --json
"""

SessionFactory = Callable[[bool, str], Session]


def build() -> typer.Typer:
    """The commands, not connected to anything yet."""
    app = typer.Typer(
        name="trimtab",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
    )
    app.command("status")(status.status)
    app.command("import")(imports.import_)
    for name, group in (
        ("conversations", conversations.app),
        ("feedback", feedback.app),
        ("personas", personas.app),
        ("groups", groups.app),
        ("policies", policies.app),
        ("reward", reward.app),
        ("retrain", retrain.app),
        ("models", models.app),
        ("drift", drift.app),
        ("deadletters", deadletters.app),
        ("users", users.app),
        ("keys", keys.app),
        ("tenants", keys.tenants),
    ):
        app.add_typer(group, name=name)
    return app


@cache
def _command() -> Any:
    """Keeps nothing of a run: what a run needs, it gets from its session."""
    return typer.main.get_command(build())


def main() -> None:
    forgive()
    sys.exit(run(sys.argv[1:], connect))


def run(arguments: Sequence[str], factory: SessionFactory) -> int:
    """Runs one command line; returns the exit code."""
    rest, as_json, tenant = hoist(arguments)
    try:
        session = factory(as_json, tenant or os.environ.get("TRIMTAB_TENANT", "local"))
        _command().main(rest, prog_name="trimtab", obj=session)
        return OK
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ERROR
    except TrimtabError as error:
        return report(error, as_json)
    except ValidationError as error:
        named = ", ".join(f"TRIMTAB_{one['loc'][0]}".upper() for one in error.errors())
        sys.stderr.write(f"error: SETTINGS: {named} has an invalid value. Next: correct it.\n")
        return USAGE


def hoist(arguments: Sequence[str]) -> tuple[list[str], bool, str]:
    """Takes out --json and --tenant, wherever they are before a `--`."""
    rest: list[str] = []
    as_json, tenant = False, ""
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--json":
            as_json = True
        elif word == "--tenant":
            tenant = next(words, "")
        elif word.startswith("--tenant="):
            tenant = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, as_json, tenant


def connect(as_json: bool, tenant: str) -> Session:
    """The real adapters, as the environment says. Nothing is opened before it is needed."""
    found = surroundings.variables(os.environ, Path.cwd())
    common = surroundings.common(found)
    addresses = {name: str(getattr(common, f"{name}_address")) for name in SERVICES}
    dashboard = found.get("TRIMTAB_DASHBOARD_URL", "http://127.0.0.1:8090")
    urls = {
        "gateway": f"{common.gateway_url}/healthz",
        "dashboard": f"{dashboard}/healthz",
        "mlflow": f"{common.mlflow_url}/health",
        "vllm": f"{common.vllm_replicas[0]}/health",
    }
    return Session(
        platform=GrpcPlatform(addresses, tenant, _calling(found, common)),
        import_target=partial(_import_target, found, common, tenant),
        files=LocalFiles(),
        probe=NetProbe(urls, common.kafka.split(",")[0]),
        run_program=run_program,
        wait=time.sleep,
        spooled=HttpSpool(common.gateway_url, _key(found), common.tls_ca).steps,
        as_json=as_json,
        tenant=tenant,
    )


def _import_target(
    found: Mapping[str, str], common: CommonSettings, tenant: str, through: str
) -> ImportTarget:
    """Imports go to interaction itself, unless only the gateway's URL is set."""
    outside = "TRIMTAB_GATEWAY_URL" in found and "TRIMTAB_INTERACTION_ADDRESS" not in found
    if (through or ("gateway" if outside else "grpc")) == "gateway":
        return HttpImport(common.gateway_url, _key(found))
    return GrpcImport(common.interaction_address, tenant, _calling(found, common))


def _key(found: Mapping[str, str]) -> str:
    return found.get("TRIMTAB_KEY", "local-dev-key")


def _calling(found: Mapping[str, str], common: CommonSettings) -> Calling:
    """As a trusted internal caller if there is a token, otherwise with a key that interaction made."""
    key = found.get("TRIMTAB_KEY", "")
    known = key.startswith(KEY_PREFIX) and not common.internal_token.get_secret_value()
    return calling_of(common, key if known else "")


if __name__ == "__main__":
    main()
