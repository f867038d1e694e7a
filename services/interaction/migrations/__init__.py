"""The interaction service's tables, and the revisions that make them."""

from services.interaction.adapters.tables import TABLES as STATE
from services.interaction.keys.store import TABLES as KEYS
from services.interaction.users.audit import TABLES as AUDIT
from shared.state.tables import METADATA

TABLES = (METADATA, STATE, KEYS, AUDIT)
