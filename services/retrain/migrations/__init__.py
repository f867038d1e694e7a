"""The retrain service's tables, and the revisions that make them."""

from services.retrain.adapters.sql_store import TABLES as STATE
from shared.state.tables import METADATA

TABLES = (METADATA, STATE)
