"""`python -m infra.migrations SERVICE MESSAGE`: writes the next revision of a service, or of `keyring`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from shared.state import migrations
from shared.state.engine import open_engine


def module_of(service: str) -> str:
    """The package of the revisions; the keyring belongs to no service."""
    return "shared.vault.migrations" if service == "keyring" else f"services.{service}.migrations"


def main() -> None:
    service, message = sys.argv[1:]
    home = import_module(module_of(service))
    revisions = Path(str(home.__file__)).parent
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'state.db'}")
        made = migrations.write(engine, revisions, home.TABLES, message)
        engine.dispose()
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", made], check=True)  # noqa: S603
    print(made)


if __name__ == "__main__":
    main()
