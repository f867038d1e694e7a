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
    - outside: what is not in the set after all, as module expressions; submodules are included. With it a
      set can be a whole tree without its edges, so that a new module is in the set until it is named.
    - allowed: what the set may import: names of modules, or patterns such as `services.**.domain`;
      submodules are allowed, too.
    """

    type_name = "allow_list"

    modules = fields.SetField(subfield=fields.ModuleExpressionField())
    outside = fields.SetField(subfield=fields.ModuleExpressionField(), required=False, default=())
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        names = _named(graph, self.modules) - _named(graph, self.outside)
        allowed = self._allowed_roots(graph)
        refused = [
            (importer, imported)
            for importer in sorted(names)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported not in names and not _is_allowed(imported, allowed)
        ]
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["refused"]:
            output.print_error(f"{importer} may not import {imported}", bold=False)
        output.new_line()
        output.print_error(f"Allowed: {', '.join(sorted(self._names()))}", bold=False)
        output.new_line()

    def _allowed_roots(self, graph: grimp.ImportGraph) -> set[str]:
        plain = {name for name in self._names() if "*" not in name}
        for pattern in self._names() - plain:
            plain |= graph.find_matching_modules(pattern)
        return plain

    def _names(self) -> set[str]:
        """import-linter replaces the field with the option's value."""
        return cast(set[str], self.allowed)


def _named(graph: grimp.ImportGraph, expressions: object) -> set[str]:
    found = module_expressions_to_modules(graph, expressions, as_packages=True)  # type: ignore[arg-type]
    return {module.name for module in found}


def _is_allowed(imported: str, roots: set[str]) -> bool:
    if imported.partition(".")[0] in sys.stdlib_module_names:
        return True
    return any(imported == root or imported.startswith(f"{root}.") for root in roots)
