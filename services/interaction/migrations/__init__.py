"""The interaction service's tables, and the revisions that make them."""

from services.interaction.tables import TABLES as OWN
from shared.state.tables import METADATA

TABLES = (METADATA, OWN)
