"""How long what people said is kept, by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Stands for every tenant without a rule of its own.
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Keep:
    """In days; 0 means forever. `store_days`: what the databases hold of a conversation, counted from the last
    addition to it. `archive_days`: files that past results rest on, such as the archive of turns and the
    snapshots that versions were trained on. Raises ValueError if negative."""

    store_days: int = 90
    archive_days: int = 730

    def __post_init__(self) -> None:
        if self.store_days < 0 or self.archive_days < 0:
            raise ValueError("days must not be negative; 0 means forever")


class RetentionPolicy:
    """A tenant's own rule, or the one for everybody."""

    def __init__(self, rules: Mapping[str, Keep] | None = None) -> None:
        self._rules = dict(rules or {})
        self.everybody = self._rules.pop(EVERYBODY, Keep())

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants with a rule of their own."""
        return tuple(sorted(self._rules))

    def of(self, tenant: str) -> Keep:
        return self._rules.get(tenant, self.everybody)
