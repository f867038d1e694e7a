"""The definitions of custom resources that others' operators bring, from their Go modules (crds.toml)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from infra.kubernetes.tools import module_folder

FILE = Path(__file__).with_name("crds.toml")


class Definitions(BaseModel):
    """Files of one module, as patterns relative to its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    version: str
    digest: Annotated[str, Field(pattern="^h1:")]
    files: tuple[str, ...]

    def paths(self) -> list[Path]:
        """The files, fetched if needed. Raises ToolsError, or LookupError for a pattern that matches none."""
        folder = module_folder(self.module, self.version, self.digest)
        found = []
        for pattern in self.files:
            matching = sorted(folder.glob(pattern))
            if not matching:
                raise LookupError(
                    f"{self.module}@{self.version} has no file {pattern}: mend {FILE.name}"
                )
            found += matching
        return found


def known() -> dict[str, Definitions]:
    """By the names that crds.toml gives them."""
    tables: dict[str, Any] = tomllib.loads(FILE.read_text())
    return {name: Definitions.model_validate(table) for name, table in tables.items()}


def paths_of(names: tuple[str, ...]) -> list[Path]:
    """The files of the named definitions; of all, without a name."""
    by_name = known()
    for name in names:
        if name not in by_name:
            raise LookupError(
                f"{FILE.name} has no definitions {name!r}: choose from {', '.join(by_name)}"
            )
    return [path for name in names or by_name for path in by_name[name].paths()]
