"""The command lines of the unit tests."""

from tests.unit.cli.conftest import trimtab

__all__ = ["trimtab"]
