"""The retrain service's tables, and the revisions that make them."""

from services.retrain.adapters.tables import METADATA as STATE
from shared.state.tables import METADATA

TABLES = (METADATA, STATE)
