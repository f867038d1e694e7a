"""What people bring in from files, as values."""

from typing import Any

Json = dict[str, Any]
