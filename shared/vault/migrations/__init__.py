"""The keyring's tables, and the revisions that create them."""

from shared.vault.tables import METADATA

TABLES = (METADATA,)
