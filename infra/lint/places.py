"""`python -m infra.lint.places`: no file names a package registry's host or a path of one machine.

Such lines tie the project to where it was written; the lock file and the clients' own settings
say where packages come from.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from infra.lint.files import text_of, written_files
from infra.local.paths import REPO

# Written in pieces, so that this file does not name what it looks for.
HOSTS = (
    ("files", "pythonhosted", "org"),
    ("pypi", "org"),
    ("registry", "npmjs", "org"),
    ("registry", "yarnpkg", "com"),
    ("repo", "maven", "apache", "org"),
    ("repo1", "maven", "org"),
    ("proxy", "golang", "org"),
    ("download", "pytorch", "org"),
)
FOLDERS = ("work", "home", "root", "Users")
HOST = re.compile("|".join(re.escape(".".join(parts)) for parts in HOSTS))
FOLDER = re.compile(rf"(?<![\w.\-/~}}>$]){'/'}(?:{'|'.join(FOLDERS)})/[\w.\-]+")
CHECKED_TOO = (Path("requirements.lock"),)


def named_places(text: str) -> list[tuple[int, str]]:
    """Line numbers, from 1, and the place that each such line names."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = HOST.search(line) or FOLDER.search(line)
        if match:
            found.append((number, match.group()))
    return found


def check(files: Iterable[Path], repo: Path = REPO) -> list[str]:
    """One line for each place that is named."""
    problems = []
    for file in files:
        for number, place in named_places(text_of(repo / file) or ""):
            problems.append(f"{file}:{number}: names {place}")
    return problems


if __name__ == "__main__":
    problems = check([*written_files(), *CHECKED_TOO])
    print("\n".join(problems) or "no file names a registry's host or a machine's path")
    sys.exit(bool(problems))
