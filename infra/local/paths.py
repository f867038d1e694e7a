"""Where the checkout and its data folder are."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Everything created at run time; `make clean` removes it. TRIMTAB_DATA moves it."""
    return Path(os.environ.get("TRIMTAB_DATA", REPO / ".trimtab")).absolute()


def parts_folder() -> Path:
    """Built parts, shared by all stacks. TRIMTAB_PARTS moves them out of the data folder."""
    return Path(os.environ.get("TRIMTAB_PARTS", data_folder() / "parts")).absolute()
