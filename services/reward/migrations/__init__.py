"""The reward service's tables, and the revisions that make them."""

from services.reward.tables import METADATA
from shared.state.tables import METADATA as KERNEL

TABLES = (KERNEL, METADATA)
