"""What people import from files, as values."""

from typing import Any

Json = dict[str, Any]
