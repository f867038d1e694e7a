"""`python -m infra.lint.protos`: buf's STANDARD lint, and FILE compatibility with main.

buf reads descriptor sets that protoc builds, because the imports of google.* come from an installed
package, where buf does not look.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from infra.local.paths import REPO, parts_folder

AGAINST = ("main", "origin/main")
OWN = ("--path", "trimtab", "--config", str(REPO / "buf.yaml"))


def run(*command: str, cwd: Path = REPO) -> int:
    return subprocess.run(command, cwd=cwd, check=False).returncode  # noqa: S603


def git(*arguments: str) -> bytes | None:
    """What git prints; None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, check=False)  # noqa: S603, S607
    return done.stdout if done.returncode == 0 else None


def image(tree: Path, file: Path) -> Path:
    """The descriptor set of the protos in `tree`, written to `file` by that tree's own generator."""
    command = [sys.executable, str(tree / "protos" / "generate.py"), "--image", str(file)]
    subprocess.run(command, check=True)  # noqa: S603
    return file


def reference() -> str | None:
    """The ref to stay compatible with; None if no known ref holds protos."""
    for ref in AGAINST:
        if git("cat-file", "-e", f"{ref}:protos/generate.py") is not None:
            return ref
    return None


def breaking(buf: str, now: Path, folder: Path) -> int:
    ref = reference()
    if ref is None:
        print(f"buf breaking: skipped, no protos in {' or '.join(AGAINST)} to compare with")
        return 0
    archive = git("archive", ref, "protos")
    with tarfile.open(fileobj=io.BytesIO(archive or b"")) as tar:
        tar.extractall(folder, filter="data")
    before = image(folder, folder / "before.binpb")
    return run(buf, "breaking", str(now), "--against", str(before), *OWN)


def main() -> int:
    buf = str(parts_folder() / "node" / "node_modules" / ".bin" / "buf")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        now = image(REPO, folder / "now.binpb")
        return run(buf, "lint", str(now), *OWN) or breaking(buf, now, folder)


if __name__ == "__main__":
    sys.exit(main())
