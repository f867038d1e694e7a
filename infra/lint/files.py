"""The files that the small checks read."""

import subprocess
from pathlib import Path

from infra.local.paths import REPO

GENERATED = ("shared/gen/", "requirements.lock")


def written_files(repo: Path = REPO) -> list[Path]:
    """Files that git tracks or would track, written by hand, relative to `repo`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True)  # noqa: S603
    names = [name for name in listed.stdout.splitlines() if not name.startswith(GENERATED)]
    return [Path(name) for name in names if (repo / name).is_file()]


def text_of(file: Path) -> str | None:
    """The file's text; None for a file that holds none."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
