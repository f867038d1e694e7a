"""The keyring's tables, and the revisions that make them."""

from shared.vault.tables import METADATA

TABLES = (METADATA,)
