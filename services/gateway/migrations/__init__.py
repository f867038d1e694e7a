"""The gateway's tables, and the revisions that make them."""

from services.gateway.adapters.link_table import TABLES as LINKS
from shared.state.tables import METADATA as KERNEL

TABLES = (KERNEL, LINKS)
