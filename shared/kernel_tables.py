"""The tables that every service has beside its own: all of them, whichever it uses."""

from shared import erasure, jobs, operations
from shared.database import METADATA

__all__ = ["METADATA", "erasure", "jobs", "operations"]
