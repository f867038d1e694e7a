"""The drift service's tables, and the revisions that make them."""

from services.drift.adapters.tables import METADATA
from shared.state.tables import METADATA as KERNEL

TABLES = (KERNEL, METADATA)
