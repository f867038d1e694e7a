"""How long turns are kept, by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Keep:
    """In days; 0 is for ever. The store is counted from a conversation's last turn (and only what is in
    the archive leaves it), the archive from the day of the turn."""

    store_days: int = 0
    archive_days: int = 0


class Policy:
    """A tenant's own rule, or the one for everybody."""

    def __init__(self, rules: Mapping[str, Keep]) -> None:
        self._rules = rules
        self._else = rules.get(EVERYBODY, Keep())

    def of(self, tenant: str) -> Keep:
        return self._rules.get(tenant, self._else)
