"""`python -m infra.lint.lines`: no file written by hand is longer than 400 lines."""

import sys
from collections.abc import Iterable
from pathlib import Path

from infra.lint.files import text_of, written_files
from infra.local.paths import REPO

LIMIT = 400
# Text that people read or write, not data that a program reads.
SUFFIXES = frozenset(
    ".cfg .css .html .ini .jinja .js .md .mk .proto .py .sh .sql .toml .tpl .yaml .yml".split()
) | {""}
NOT_OURS = frozenset({Path("LICENSE")})


def too_long(files: Iterable[Path], repo: Path = REPO) -> list[str]:
    """One line for each file over the limit."""
    found = []
    for file in files:
        if file.suffix not in SUFFIXES or file in NOT_OURS:
            continue
        count = len((text_of(repo / file) or "").splitlines())
        if count > LIMIT:
            found.append(f"{file}: {count} lines, over {LIMIT}")
    return found


if __name__ == "__main__":
    problems = too_long(written_files())
    print("\n".join(problems) or "no file over 400 lines")
    sys.exit(bool(problems))
