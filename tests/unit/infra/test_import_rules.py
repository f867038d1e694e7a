"""The allow-list of imports: what is not named is refused, wherever in the tree it stands."""

import grimp
import pytest

from infra.lint.allow_list import AllowListContract

DOMAIN, TABLES, ADAPTERS = (
    "services.drift.domain",
    "services.drift.tables",
    "services.drift.adapters.sql",
)


def refused(importer: str, imported: str) -> list[tuple[str, str]]:
    """What the contract refuses of a tree in which `importer` imports `imported`."""
    graph = grimp.ImportGraph()
    for module in (
        "services",
        "services.drift",
        DOMAIN,
        TABLES,
        "services.drift.adapters",
        ADAPTERS,
    ):
        graph.add_module(module)
    for module in {importer, imported, "shared.language"} - graph.modules:
        graph.add_module(module, is_squashed=not module.startswith(("services", "shared")))
    graph.add_import(importer=importer, imported=imported)
    options = {
        "modules": ["services"],
        "outside": ["services.**.adapters", "services.*.tables"],
        "allowed": ["numpy", "shared.language", "services.**.ports"],
    }
    contract = AllowListContract("inner", {"root_packages": ["services", "shared"]}, options)
    found: list[tuple[str, str]] = contract.check(graph, verbose=False).metadata["refused"]
    return found


@pytest.mark.parametrize(
    "imported", ["sqlalchemy", "grpc", "torch", "shared.state.database", TABLES, ADAPTERS]
)
def test_whatever_is_not_allowed_is_refused(imported: str) -> None:
    assert refused(DOMAIN, imported) == [(DOMAIN, imported)]


@pytest.mark.parametrize(
    "imported",
    ["numpy", "dataclasses", "shared.language", "shared.language.errors", "services.drift.app"],
)
def test_the_vocabulary_the_standard_library_and_the_set_itself_are_allowed(imported: str) -> None:
    assert refused(DOMAIN, imported) == []


def test_a_module_of_a_new_name_is_in_the_set() -> None:
    assert refused("services.drift.rules", "sqlalchemy") == [("services.drift.rules", "sqlalchemy")]


def test_what_is_outside_may_import_anything() -> None:
    assert refused(ADAPTERS, "sqlalchemy") == []
