"""The tables that every service has beside its own: all of them, whichever it uses."""

from shared import jobs, operations
from shared.database import METADATA

__all__ = ["METADATA", "jobs", "operations"]
