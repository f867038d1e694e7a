"""The interaction service's tables, and the revisions that make them."""

from services.interaction.adapters.tables import TABLES as STATE
from shared.kernel_tables import METADATA

TABLES = (METADATA, STATE)
