"""The gateway's tables, and the revisions that make them."""

from services.gateway.adapters.links import TABLES as LINKS
from shared.kernel_tables import METADATA as KERNEL

TABLES = (KERNEL, LINKS)
