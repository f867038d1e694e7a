"""The tables that every service has beside its own: all of them, whichever it uses."""

from shared.privacy import erasure
from shared.state import jobs, operations
from shared.state.database import METADATA

__all__ = ["METADATA", "erasure", "jobs", "operations"]
