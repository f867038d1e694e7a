"""Where the checkout and its one data folder lie."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Everything made at run time; `make clean` removes it. TRIMTAB_DATA moves it."""
    return Path(os.environ.get("TRIMTAB_DATA", REPO / ".trimtab")).absolute()


def parts_folder() -> Path:
    """Built parts, shared by every stack; TRIMTAB_PARTS moves them apart from the data."""
    return Path(os.environ.get("TRIMTAB_PARTS", data_folder() / "parts")).absolute()
