"""The registry service's tables, and the revisions that make them."""

from services.registry.adapters.sql_store import TABLES as STATE
from shared.state.tables import METADATA

TABLES = (METADATA, STATE)
