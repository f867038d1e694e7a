"""The keyring's tables, and the revisions that make them."""

from shared.keyring_tables import METADATA

TABLES = (METADATA,)
