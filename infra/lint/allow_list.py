"""An import-linter contract that lists what a set of modules may import; everything else is refused.

A list of forbidden imports would let through whatever nobody thought of. The standard library and the
modules of the set itself are always allowed.
"""

from __future__ import annotations

import sys
from typing import cast

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules


class AllowListContract(Contract):
    """Options:

    - modules: the set, as module expressions; submodules are included.
    - allowed: the modules that they may import; submodules are allowed, too.
    - within_service: on by default: a module may import the rest of its own `services.X`, which other
      contracts check.
    """

    type_name = "allow_list"

    modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed = fields.SetField(subfield=fields.StringField())
    within_service = fields.BooleanField(required=False, default=True)

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        found = module_expressions_to_modules(graph, self.modules, as_packages=True)  # type: ignore[arg-type]
        names = {module.name for module in found}
        refused = [
            (importer, imported)
            for importer in sorted(names)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported not in names and not self._is_allowed(importer, imported)
        ]
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["refused"]:
            output.print_error(f"{importer} may not import {imported}", bold=False)
        output.new_line()
        output.print_error(f"Allowed: {', '.join(sorted(self._names()))}", bold=False)
        output.new_line()

    def _is_allowed(self, importer: str, imported: str) -> bool:
        if imported.partition(".")[0] in sys.stdlib_module_names:
            return True
        if self.within_service and importer.startswith("services."):
            service = ".".join(importer.split(".")[:2])
            if imported == service or imported.startswith(f"{service}."):
                return True
        return any(imported == one or imported.startswith(f"{one}.") for one in self._names())

    def _names(self) -> set[str]:
        """import-linter replaces the field with the option's value."""
        return cast(set[str], self.allowed)
