"""`python -m infra.migrations SERVICE MESSAGE`: writes the service's next revision."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from infra.local.paths import REPO
from shared import migrations
from shared.database import open_engine


def main() -> None:
    service, message = sys.argv[1:]
    tables = import_module(f"services.{service}.migrations").TABLES
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'state.db'}")
        made = migrations.write(engine, REPO / "services" / service / "migrations", tables, message)
        engine.dispose()
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", made], check=True)  # noqa: S603
    print(made)


if __name__ == "__main__":
    main()
