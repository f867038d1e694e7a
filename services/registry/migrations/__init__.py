"""The registry service's tables, and the revisions that make them."""

from services.registry.adapters.tables import METADATA as STATE
from shared.state.tables import METADATA

TABLES = (METADATA, STATE)
